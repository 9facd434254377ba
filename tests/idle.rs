//! A store that has nothing to do does nothing, though somebody waits. Alone in its process, so that its threads are
//! the only ones of their names.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and reads what Linux says"
)]

use millpond::{Group, Store};
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

/// How often the thread of this name gave up the processor, as Linux counts it.
fn switches(thread: &str) -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let read = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("status")).ok();
    let tasks = tasks.filter_map(|task| read(task.ok()?)).filter(|status| status.contains(thread));
    tasks.map(|status| status.lines().filter(|line| line.contains("ctxt_switches")).collect()).collect()
}

#[test]
fn the_thread_that_serves_sleeps_while_there_is_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let email = store.topic("orders").unwrap().consumer("email", Group::default()).unwrap();
    let mut next = email.next();
    assert!(Pin::new(&mut next).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    std::thread::sleep(Duration::from_millis(200));
    let before = switches("millpond-lease");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((switches("millpond-lease"), before.len()), (before, 1));
    store.close().unwrap();
}
