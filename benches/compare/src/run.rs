//! One measurement, in a process of its own: the parent asks for it with a [`Spec`], and gets a [`Sample`].

use crate::floor::Floor;
use crate::payloads::Payloads;
use crate::queue::{Level, Levels, Queue, Result};
use crate::rows::Work;
use crate::{alternatives, scaling};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How much to do: whichever is reached first.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Effort {
    pub(crate) seconds: f64,
    pub(crate) messages: u64,
}

/// What is measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Subject {
    Floor(Floor),
    Alternative { name: String, work: Work, append: Level, settle: Level, used: bool },
}

/// What a child is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) subject: Subject,
    pub(crate) effort: Effort,
    pub(crate) directory: PathBuf,
}

/// What came out.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) messages: u64,
    pub(crate) seconds: f64,
    /// p50, p99 and p99.9, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) percentiles: Option<[f64; 3]>,
    /// Processor time of all threads of the child, to the hundredth of a second; not that of a server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cpu: Option<f64>,
}

/// Processor time that this process has used so far, in seconds: unlike the clock it does not care who else is busy.
fn cpu() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in brackets, may have blanks in it. Times are the 14th and 15th fields, in hundredths.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

/// What was used since `before`.
fn cpu_since(before: Option<f64>) -> Option<f64> {
    Some(cpu()? - before?)
}

/// Looked up just before the work and just after it, so that a trace of system calls shows where it is.
pub(crate) const BEGIN: &str = "compare-work-begins-here";
pub(crate) const END: &str = "compare-work-ends-here";

pub(crate) fn mark(place: &str) {
    drop(std::fs::metadata(place));
}

impl Spec {
    pub(crate) fn run(&self) -> Result<Sample> {
        let (name, work, levels) = match &self.subject {
            Subject::Floor(floor) => return floor.run(&self.directory, self.effort),
            Subject::Alternative { name, work, append, settle, used } => {
                (name, *work, Levels { append: *append, settle: *settle, used: *used })
            }
        };
        let alternative = alternatives::named(name).ok_or("no such alternative")?;
        if let Work::Topics { .. } | Work::Groups { .. } | Work::Backlog { .. } = work {
            return scaling::run(work, levels, &self.directory, self.effort);
        }
        let queue = alternative.open(&self.directory, levels)?;
        if levels.used {
            wear(&*queue, work.bytes_in(self.effort, levels.append))?;
        }
        self.on(&*queue, work)
    }

    fn on(&self, queue: &dyn Queue, work: Work) -> Result<Sample> {
        let effort = self.effort;
        match work {
            Work::Append { bytes, batch, threads } => append(queue, effort, bytes, batch, threads),
            Work::Pipelined { bytes, most } => pipelined(queue, effort, bytes, most),
            Work::Drain { batch } => drain(queue, effort, batch, 1),
            Work::Settle { consumers } => drain(queue, effort, 1, consumers),
            Work::Latency { per_second } => latency(queue, effort, per_second),
            Work::Topics { .. } | Work::Groups { .. } | Work::Backlog { .. } => Err("not of a queue".into()),
        }
    }
}

/// Runs `make`'s closures in threads until the effort is spent; each call of one does `each` messages, and is told how
/// many its thread has done. Opening what a thread needs is not part of the time.
pub(crate) fn together<F>(
    threads: usize,
    effort: Effort,
    each: u64,
    mut make: impl FnMut(usize) -> Result<F>,
) -> Result<Sample>
where
    F: FnMut(u64) -> Result<()> + Send,
{
    let over = AtomicBool::new(false);
    let barrier = Barrier::new(threads + 1);
    let quota = effort.messages.div_ceil(threads as u64);
    let works = (0..threads).map(&mut make).collect::<Result<Vec<F>>>()?;
    std::thread::scope(|scope| {
        let spawn = |mut work: F| {
            let (over, barrier) = (&over, &barrier);
            scope.spawn(move || -> Result<(u64, Instant)> {
                barrier.wait();
                let mut done = 0;
                while done < quota && !over.load(Ordering::Relaxed) {
                    work(done)?;
                    done += each;
                }
                Ok((done, Instant::now()))
            })
        };
        let running: Vec<_> = works.into_iter().map(spawn).collect();
        mark(BEGIN);
        let (before, began) = (cpu(), Instant::now());
        barrier.wait();
        while began.elapsed().as_secs_f64() < effort.seconds && running.iter().any(|thread| !thread.is_finished()) {
            std::thread::sleep(Duration::from_secs_f64(effort.seconds / 50.0));
        }
        over.store(true, Ordering::Relaxed);
        let joined: Vec<_> = running.into_iter().map(|thread| thread.join()).collect();
        let cpu = cpu_since(before);
        mark(END);
        let (mut messages, mut end) = (0, began);
        for outcome in joined {
            let (done, ended) = outcome.map_err(|_| "a thread panicked")??;
            messages += done;
            end = end.max(ended);
        }
        let seconds = (end - began).as_secs_f64();
        Ok(Sample { messages, seconds, percentiles: None, cpu })
    })
}

fn append(queue: &dyn Queue, effort: Effort, bytes: usize, batch: usize, threads: usize) -> Result<Sample> {
    // Different ones, but not a gigabyte of them.
    let payloads = Payloads::new(((16 << 20) / bytes).clamp(1, 1024), bytes);
    together(threads, effort, batch as u64, |_| {
        let mut producer = queue.producer()?;
        let all = payloads.batch(0, batch);
        Ok(move |done| match batch {
            1 => producer.append(payloads.get(done)),
            _ => producer.append_batch(&all),
        })
    })
}

fn pipelined(queue: &dyn Queue, effort: Effort, bytes: usize, most: usize) -> Result<Sample> {
    let payloads = Payloads::new(1024, bytes);
    let mut producer = queue.producer()?;
    mark(BEGIN);
    let (before, began) = (cpu(), Instant::now());
    let mut messages = 0;
    while messages < effort.messages && began.elapsed().as_secs_f64() < effort.seconds {
        for number in messages..messages + 64 {
            producer.append_pipelined(payloads.get(number), most)?;
        }
        messages += 64;
    }
    producer.settle_pipeline()?;
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_since(before));
    mark(END);
    Ok(Sample { messages, seconds, percentiles: None, cpu })
}

/// Puts in about so many messages, in batches, for not much longer than `seconds`.
fn fill(queue: &dyn Queue, payloads: Payloads, messages: u64, seconds: f64) -> Result<u64> {
    const BATCH: u64 = 1000;
    let mut producer = queue.producer()?;
    let began = Instant::now();
    let mut filled = 0;
    while filled < messages && began.elapsed().as_secs_f64() < seconds {
        let batch = payloads.batch(filled, BATCH.min(messages - filled) as usize);
        producer.append_batch(&batch)?;
        filled += batch.len() as u64;
    }
    Ok(filled)
}

/// How long the disk is let alone before it is measured on what was used.
const CALM: Duration = Duration::from_millis(1500);

/// Puts in so many bytes and takes them out again, and then some more, so that what comes next goes to where something
/// was before. Not for long if that is slow.
fn wear(queue: &dyn Queue, bytes: u64) -> Result<()> {
    const MORE: u64 = 160 << 20;
    for bytes in [bytes + MORE, MORE] {
        through(queue, bytes)?;
    }
    // A disk that took in so much at once syncs slowly for a while.
    std::thread::sleep(CALM);
    Ok(())
}

fn through(queue: &dyn Queue, bytes: u64) -> Result<()> {
    const EACH: usize = 1000;
    const PATIENCE: f64 = 3.0;
    fill(queue, Payloads::new(1024, EACH), bytes / EACH as u64, PATIENCE)?;
    let mut consumer = queue.consumer()?;
    let began = Instant::now();
    while began.elapsed().as_secs_f64() < PATIENCE && consumer.take(100, &mut |_| {})? > 0 {}
    queue.settle_down()
}

fn drain(queue: &dyn Queue, effort: Effort, batch: usize, consumers: usize) -> Result<Sample> {
    let payloads = Payloads::new(1000, 100);
    let filled = fill(queue, payloads, effort.messages, (effort.seconds * 4.0).max(2.0))?;
    let (taken, wrong, ended) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let (before, began) = (cpu(), Instant::now());
    // A closure that finds nothing left ends its thread by an error of this text.
    const EMPTY: &str = "nothing is left";
    let outcome = together(consumers, Effort { messages: u64::MAX, ..effort }, 0, |_| {
        let mut consumer = queue.consumer()?;
        let (taken, wrong, ended) = (&taken, &wrong, &ended);
        let mut next = 0;
        Ok(move |_| {
            let mut see = |payload: &[u8]| {
                let number = payloads.check(payload);
                // One consumer gets them in order.
                if number.is_none() || (consumers == 1 && number != Some(next % 1000)) {
                    wrong.fetch_add(1, Ordering::Relaxed);
                }
                next += 1;
            };
            let got = consumer.take(batch, &mut see)? as u64;
            if got == 0 {
                ended.fetch_max(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
                return Err(EMPTY.into());
            }
            taken.fetch_add(got, Ordering::Relaxed);
            Ok(())
        })
    });
    let cpu = cpu_since(before);
    let seconds = match outcome {
        Ok(sample) => sample.seconds,
        Err(error) if error.to_string() == EMPTY => ended.into_inner() as f64 / 1e9,
        Err(error) => return Err(error),
    };
    let (taken, wrong) = (taken.into_inner(), wrong.into_inner());
    if wrong > 0 || taken > filled {
        return Err(format!("{filled} went in, {taken} came out, {wrong} of them wrong or out of order").into());
    }
    Ok(Sample { messages: taken, seconds, percentiles: None, cpu })
}

fn latency(queue: &dyn Queue, effort: Effort, per_second: u64) -> Result<Sample> {
    let count = ((per_second as f64 * effort.seconds) as u64).clamp(1, effort.messages);
    let payloads = Payloads::new(count as usize, 100);
    let sent: Vec<AtomicU64> = (0..count).map(|_| AtomicU64::new(0)).collect();
    let mut producer = queue.producer()?;
    let mut consumer = queue.consumer()?;
    let (before, began) = (cpu(), Instant::now());
    let nanos = || began.elapsed().as_nanos() as u64;
    let mut latencies = Vec::with_capacity(count as usize);
    let limit = Duration::from_secs_f64(effort.seconds * 4.0 + 2.0);
    let over = AtomicBool::new(false);
    let seconds = std::thread::scope(|scope| -> Result<f64> {
        let sending = scope.spawn(|| -> Result<f64> {
            let start = Duration::from_millis(20);
            for number in 0..count {
                let due = start + Duration::from_nanos(number * 1_000_000_000 / per_second);
                std::thread::sleep(due.saturating_sub(began.elapsed()));
                sent[number as usize].store(nanos(), Ordering::Relaxed);
                producer.append(payloads.get(number))?;
                if over.load(Ordering::Relaxed) {
                    break;
                }
            }
            Ok((began.elapsed() - start).as_secs_f64())
        });
        while (latencies.len() as u64) < count && began.elapsed() < limit {
            consumer.wait(Duration::from_millis(500), &mut |payload| {
                if let Some(number) = payloads.check(payload) {
                    let sent = sent[number as usize].load(Ordering::Relaxed);
                    latencies.push(nanos().saturating_sub(sent) as f64 / 1e3);
                }
            })?;
        }
        over.store(true, Ordering::Relaxed);
        sending.join().map_err(|_| "the producer panicked")?
    })?;
    let cpu = cpu_since(before);
    // The first ones warm it up.
    let warm = latencies.split_off((latencies.len() / 20).min(1000));
    let messages = latencies.len() as u64 + warm.len() as u64;
    Ok(Sample { messages, seconds, percentiles: Some(percentiles(warm)), cpu })
}

/// p50, p99 and p99.9.
pub(crate) fn percentiles(mut all: Vec<f64>) -> [f64; 3] {
    all.sort_unstable_by(f64::total_cmp);
    let last = all.len().saturating_sub(1);
    [0.5, 0.99, 0.999].map(|part| all.get((last as f64 * part).round() as usize).copied().unwrap_or(f64::NAN))
}

/// Reads a spec, and prints a sample or an error, as JSON.
pub(crate) fn child(spec: &str) -> Result<()> {
    let spec: Spec = serde_json::from_str(spec)?;
    let outcome = spec.run().map_err(|error| error.to_string());
    println!("{RESULT}{}", serde_json::to_string(&outcome)?);
    Ok(())
}

/// Begins the line of the result: an alternative may print too.
pub(crate) const RESULT: &str = "compare-result ";

/// The file of a directory's name, for those who need one.
pub(crate) fn fresh(scratch: &Path) -> Result<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix("compare-").tempdir_in(scratch)?)
}
