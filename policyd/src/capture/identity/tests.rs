use std::time::Duration;

use super::*;

/// An origin as the kernel would note it for this process.
fn own_origin(connected_at: Duration) -> Origin {
    let cgroup2 = Cgroup2::find().unwrap();
    let directory = cgroup2.directory(&cgroup2.own().unwrap()).unwrap();
    Origin {
        destination: ([127, 0, 0, 1], 443).into(),
        tgid: std::process::id(),
        uid: 0,
        cgroup: fs::metadata(directory).unwrap().ino(),
        netns: 1,
        connected_at,
    }
}

fn now() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).unwrap().into()
}

#[test]
fn a_live_process_is_named() {
    let resolver = Resolver::new().unwrap();
    let origin = own_origin(now());
    let identity = resolver.resolve(&origin).unwrap();
    assert_eq!(identity.pid, std::process::id());
    assert_eq!(identity.user.as_deref(), Some("root"));
    assert_eq!(identity.exe, Some(std::env::current_exe().unwrap()));
    assert_eq!(identity.cgroup, Cgroup2::find().unwrap().own().unwrap());
    assert!(Arc::ptr_eq(&identity, &resolver.resolve(&origin).unwrap()), "the second time it comes from the cache");
}

#[test]
fn a_cached_identity_is_not_used_for_another_user_or_namespace() {
    let resolver = Resolver::new().unwrap();
    let origin = own_origin(now());
    resolver.resolve(&origin).unwrap();
    assert_eq!(resolver.resolve(&Origin { uid: 65534, ..origin }).unwrap().uid, 65534);
    assert_eq!(resolver.resolve(&Origin { netns: 2, ..origin }).unwrap().netns, 2);
}

#[test]
fn a_process_that_started_after_the_connect_is_someone_else() {
    let resolver = Resolver::new().unwrap();
    let error = resolver.resolve(&own_origin(Duration::from_millis(1))).unwrap_err();
    assert!(matches!(error, Unknown::ReusedPid(_)), "{error}");
}

#[test]
fn an_ended_process_keeps_what_the_kernel_noted() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let origin = Origin { tgid: child.id(), ..own_origin(now()) };
    let identity = Resolver::new().unwrap().resolve(&origin).unwrap();
    assert_eq!((identity.started, &identity.exe, identity.uid), (0, &None, 0));
}

#[test]
fn a_cgroup_that_is_nowhere_names_nobody() {
    let origin = Origin { cgroup: u64::MAX, ..own_origin(now()) };
    assert!(matches!(Resolver::new().unwrap().resolve(&origin), Err(Unknown::Cgroup(..))));
}

#[test]
fn a_process_cannot_choose_its_start_by_its_name() {
    let stat = b"7 (a) R 1 2) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1";
    assert_eq!(parse_started(stat), Some(4242));
    assert_eq!(parse_started(b"7 no parenthesis"), None);
}

#[test]
fn a_process_is_named_without_a_connection() {
    let resolver = Resolver::new().unwrap();
    let (origin, identity) = resolver.of_process(std::process::id()).unwrap();
    let own = own_origin(now());
    assert_eq!((origin.tgid, origin.uid, origin.cgroup), (own.tgid, own.uid, own.cgroup));
    assert_eq!(*identity, Identity { netns: 0, ..Identity::clone(&resolver.resolve(&own).unwrap()) });
    assert!(matches!(resolver.of_process(u32::MAX).unwrap_err(), Unknown::Proc { .. }));
    assert_eq!(real_uid("Name:\tx\nUid:\t1000\t0\t0\t0\n"), Some(1000));
}
