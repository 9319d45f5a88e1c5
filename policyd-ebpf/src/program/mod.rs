//! One file per kind of program; `maps` holds what they share.

mod connect;
mod count;
mod egress;
mod listener;
mod maps;
mod peername;
mod sendmsg;
mod sock_create;
mod sockaddr;
mod sockops;
mod storage;
