//! Polled leases on a disk that tells who touches it: never who polls, and whoever is dropped meanwhile loses nothing.

use super::*;
use crate::config::{Group, TopicSettings};
use crate::message::Message;
use crate::storage::{Access, Entry, Lock};
use crate::ticket::Ticket;
use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

type Hook = Arc<Mutex<Option<Box<dyn FnMut(&str) + Send>>>>;

/// A disk that says what is done to it before it is done.
struct Watched<T: ?Sized>(Hook, Arc<T>);

impl<T: ?Sized> std::fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a watched disk")
    }
}

impl<T: ?Sized> Watched<T> {
    fn tell(&self, what: &str) -> &T {
        if let Some(hook) = &mut *self.0.lock() {
            hook(what);
        }
        &self.1
    }
}

impl Storage for Watched<dyn Storage> {
    fn create_directories(&self) -> io::Result<()> {
        self.tell("create").create_directories()
    }
    fn list(&self, directory: &str) -> io::Result<Vec<Entry>> {
        self.tell("list").list(directory)
    }
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(Watched(self.0.clone(), self.tell("open").open(name, access)?)))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.tell("rename").rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.tell("remove").remove(name)
    }
    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        self.tell("sync_dir").sync_dir(directory)
    }
    fn free_space(&self) -> io::Result<u64> {
        self.tell("free_space").free_space()
    }
    fn boot_id(&self) -> String {
        self.tell("boot_id").boot_id()
    }
}

impl StorageFile for Watched<dyn StorageFile> {
    fn len(&self) -> io::Result<u64> {
        self.tell("len").len()
    }
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.tell("read").read_at(buffer, position)
    }
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.tell("write").write_at(bytes, position)
    }
    fn sync(&self) -> io::Result<()> {
        self.tell("sync").sync()
    }
    fn allocate(&self, len: u64) -> io::Result<bool> {
        self.tell("allocate").allocate(len)
    }
    fn links(&self) -> io::Result<u64> {
        self.tell("links").links()
    }
    fn try_lock(&self, lock: Lock) -> io::Result<bool> {
        self.tell("lock").try_lock(lock)
    }
}

/// A store on a real disk with so many messages, opened anew so that they are read from it, and the hook of its disk.
fn opened(dir: &Path, messages: usize, threads: bool) -> (Arc<Engine>, Hook, GroupId) {
    let environment = Environment::on_disk(dir);
    let engine = Engine::open(environment, Options::default(), false).unwrap();
    let topic = engine.topic("orders", Some(&TopicSettings::default())).unwrap();
    let group = engine.group(topic, "email", &Group::default()).unwrap();
    (0..messages).for_each(|_| _ = engine.clone().publish(topic, Message::new("4711")).wait().unwrap());
    engine.close().unwrap();
    let hook = Hook::default();
    let mut environment = Environment::on_disk(dir);
    environment.storage = Arc::new(Watched(hook.clone(), environment.storage));
    (Engine::open(environment, Options::default(), threads).unwrap(), hook, group)
}

thread_local!(static POLLING: Cell<bool> = const { Cell::new(false) });

/// What is done in here must not touch the disk.
fn polled<T>(what: impl FnOnce() -> T) -> T {
    POLLING.set(true);
    let outcome = what();
    POLLING.set(false);
    outcome
}

fn poll<T: Unpin>(ticket: &mut Ticket<T>) -> Poll<Result<T>> {
    polled(|| Pin::new(ticket).poll(&mut Context::from_waker(Waker::noop())))
}

fn until<T>(mut poll: impl FnMut() -> Poll<Result<T>>) -> T {
    loop {
        match poll() {
            Poll::Ready(outcome) => return outcome.unwrap(),
            Poll::Pending => std::thread::yield_now(),
        }
    }
}

/// Publishes, leases, settles and drops as a task does, and says what of it touched the disk where it was polled.
fn what_a_task_does(blocking: bool) -> Vec<String> {
    const MESSAGES: usize = 50;
    let dir = tempfile::tempdir().unwrap();
    let (engine, hook, group) = opened(dir.path(), MESSAGES, true);
    let topic = engine.topic("orders", None).unwrap();
    let touched = Arc::new(Mutex::new(Vec::new()));
    let told = touched.clone();
    *hook.lock() = Some(Box::new(move |what| {
        if POLLING.get() {
            told.lock().push(what.to_owned());
        }
    }));
    let stopped = Arc::new(AtomicBool::new(false));
    for number in 0..MESSAGES {
        let mut published = polled(|| engine.clone().publish(topic, Message::new("more")));
        let leased = if blocking && number == 7 {
            polled(|| engine.lease(group, 1, Wait::No, &stopped)).unwrap()
        } else {
            let ask = polled(|| engine.ask(group, (1, Shape::Single), None, &stopped)).unwrap();
            let dropped = polled(|| engine.ask(group, (2, Shape::Single), None, &stopped)).unwrap();
            let leased = until(|| polled(|| ask.poll(Waker::noop())));
            polled(|| engine.withdraw(&dropped));
            leased
        };
        let held = [(leased[0].record.offset(), leased[0].epoch)];
        let mut settled = polled(|| engine.settle(group, &held, &[], &Outcome::Ack));
        until(|| poll(&mut settled));
        until(|| poll(&mut published));
    }
    *hook.lock() = None;
    engine.close().unwrap();
    std::mem::take(&mut *touched.lock())
}

#[test]
fn what_a_task_does_never_touches_the_disk_where_it_is_polled() {
    assert_eq!(what_a_task_does(false), [""; 0]);
}

#[test]
fn a_blocking_lease_in_a_task_would_be_noticed() {
    assert_ne!(what_a_task_does(true), [""; 0]);
}

#[test]
fn dropped_while_its_message_is_read_it_leaves_it_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, hook, group) = opened(dir.path(), 1, false);
    let stopped = Arc::new(AtomicBool::new(false));
    let first = engine.ask(group, (1, Shape::Single), None, &stopped).unwrap();
    let second = engine.ask(group, (1, Shape::Single), None, &stopped).unwrap();
    let (weak, withdrawn) = (Arc::downgrade(&engine), first.clone());
    *hook.lock() = Some(Box::new(move |what| {
        if what == "read" {
            weak.upgrade().unwrap().withdraw(&withdrawn);
        }
    }));
    assert!(engine.poll_leases());
    *hook.lock() = None;
    let Poll::Ready(leased) = second.poll(Waker::noop()) else { panic!("it is not there") };
    assert_eq!(leased.unwrap().len(), 1, "what was read goes to the next in line");
    assert!(first.poll(Waker::noop()).is_pending());
    engine.close().unwrap();
}

#[test]
fn dropped_while_its_message_is_read_it_gives_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, hook, group) = opened(dir.path(), 1, false);
    let stopped = Arc::new(AtomicBool::new(false));
    let only = engine.ask(group, (1, Shape::Single), None, &stopped).unwrap();
    let (weak, withdrawn) = (Arc::downgrade(&engine), only);
    *hook.lock() = Some(Box::new(move |what| {
        if what == "read" {
            weak.upgrade().unwrap().withdraw(&withdrawn);
        }
    }));
    assert!(engine.poll_leases());
    *hook.lock() = None;
    let stats = engine.group_stats(group).unwrap();
    assert_eq!((stats.ready, stats.leased), (1, 0));
    let again = engine.lease(group, 1, Wait::No, &stopped).unwrap();
    assert_eq!((again.len(), again[0].counters.leases, again[0].counters.failures), (1, 2, 0));
    engine.close().unwrap();
}

#[test]
fn a_waker_that_panics_takes_nobody_with_it() {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("on purpose");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let (engine, _, group) = opened(dir.path(), 2, true);
    let stopped = Arc::new(AtomicBool::new(false));
    let bad = engine.ask(group, (1, Shape::Single), None, &stopped).unwrap();
    let _ = bad.poll(&Arc::new(Panics).into());
    for _ in 0..2 {
        let good = engine.ask(group, (1, Shape::Single), Some(Duration::from_millis(5)), &stopped).unwrap();
        until(|| good.poll(Waker::noop()));
    }
    engine.close().unwrap();
}
