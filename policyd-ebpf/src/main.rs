//! policyd's kernel programs: who connects where is noted, redirected, or refused.
//!
//! Built by `cargo xtask ebpf` only; everyone else uses the object in `prebuilt/`.

#![no_std]
#![no_main]

mod program;

/// Programs may call GPL-only helpers only under a licence that the kernel knows.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Never reached: the verifier takes no program that could come here.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: nothing calls this; overflow and bounds checks are compiled out or proved.
    unsafe { core::hint::unreachable_unchecked() }
}
