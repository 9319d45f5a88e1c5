//! Socket storage from every kind of program: aya's accessors take only a socket address context.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock};
use aya_ebpf::btf_maps::SkStorage;
use aya_ebpf::helpers::generated::{bpf_sk_storage_delete, bpf_sk_storage_get};

/// A copy of the value that `map` holds for `sk`.
#[inline(always)]
pub fn read<T: Copy>(map: &'static SkStorage<T>, sk: *mut bpf_sock) -> Option<T> {
    // SAFETY: the callers pass the context's socket after a null check, as the verifier insists.
    let value = unsafe { bpf_sk_storage_get(address(map), sk.cast(), ptr::null_mut(), 0) }.cast::<T>();
    // SAFETY: not null, and then the kernel vouches for a `T`.
    if value.is_null() { None } else { Some(unsafe { *value }) }
}

/// Sets the value that `map` holds for `sk`. False when the kernel has no memory for it.
#[inline(always)]
pub fn write<T: Copy>(map: &'static SkStorage<T>, sk: *mut bpf_sock, value: &T) -> bool {
    let initial = ptr::from_ref(value).cast_mut().cast();
    // SAFETY: as in `read`; the kernel copies the initial value.
    let place = unsafe { bpf_sk_storage_get(address(map), sk.cast(), initial, BPF_SK_STORAGE_GET_F_CREATE.into()) };
    if place.is_null() {
        return false;
    }
    // An older value is not replaced by the helper.
    // SAFETY: not null, and then the kernel vouches for a `T`.
    unsafe { *place.cast::<T>() = *value };
    true
}

/// Removes the value that `map` holds for `sk`, if there is one.
#[inline(always)]
pub fn delete<T>(map: &'static SkStorage<T>, sk: *mut bpf_sock) {
    // SAFETY: as in `read`.
    let _ = unsafe { bpf_sk_storage_delete(address(map), sk.cast()) };
}

#[inline(always)]
fn address<T>(map: &'static SkStorage<T>) -> *mut c_void {
    ptr::from_ref(map).cast_mut().cast()
}
