//! x
use millpond::*;
fn main() {
    let dir = tempfile::tempdir_in("target").unwrap();
    let keys: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let on = std::env::args().nth(2).unwrap() == "on";
    let runs = std::env::args().nth(2).unwrap() == "runs";
    let store = Store::options().durability(Durability::Memory).open(dir.path().join("s")).unwrap();
    let topic = store.topic("t").unwrap();
    let messages = 1_000_000u64;
    let key = |number: u64| (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) % keys;
    for first in (0..messages).step_by(1000) {
        topic.publish_all((first..first+1000).map(|n| Message::new(&[b'm';100][..]).key(key(n).to_string()))).wait().unwrap();
    }
    store.sync().wait().unwrap();
    let s = if on || runs { Group::default().ordered(WhenParked::Skip) } else { Group::default() };
    let c = topic.consumer("g", s).unwrap();
    let t = std::time::Instant::now();
    let mut calls = 0;
    loop {
        calls += 1;
        if runs {
            let r = c.lease_runs(100, std::time::Duration::ZERO).unwrap();
            if r.is_empty() { break; }
            for r in r { r.ack().detach(); }
        } else {
            let b = c.lease_many(100, std::time::Duration::ZERO).unwrap();
            if b.len() == 0 { break; }
            c.ack_all(b).detach();
        }
    }
    assert!(c.idle());
    println!("{keys} {calls} calls: {:.0}/s", messages as f64 / t.elapsed().as_secs_f64());
    store.close().unwrap();
}
