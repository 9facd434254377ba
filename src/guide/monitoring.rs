//! Monitoring: what a store counts, how to have it on a page, and what to be woken for.
//!
//! A store counts by itself, in memory, whether or not anybody looks: an add for each message, one look at the clock
//! for each call that settles. [`Store::metrics`](crate::Store::metrics) is a copy of it, and
//! [`Metrics::to_prometheus`](crate::Metrics::to_prometheus) the page that Prometheus reads:
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! use millpond::{Group, Store};
//! let store = Store::open(dir.path())?;
//! let orders = store.topic("orders")?;
//! let email = orders.consumer("email", Group::default())?;
//! orders.publish("4711").wait()?;
//! email.lease()?.ack().wait()?;
//!
//! let page = store.metrics().to_prometheus(); // what your program answers to GET /metrics
//! assert!(page.contains("millpond_acked_total{topic=\"orders\",group=\"email\"} 1"));
//!
//! let of = &store.metrics().groups[0]; // or as numbers
//! assert!(of.end_to_end.quantile(0.99) < std::time::Duration::from_secs(60));
//! # store.close()
//! # }
//! ```
//!
//! With feature `metrics`, `MetricsFeed` tells the same to whatever recorder the program has installed for the
//! [`metrics`](https://docs.rs/metrics) facade. `millpond metrics STORE` prints the page of a store that another
//! process has open, without what that process counts in memory: gauges only. Leases are in its memory too, so there
//! `millpond_ready` has what is leased as well, as its HELP line says, and `millpond_leased` is not there; `millpond
//! top` shows the two as one, and [`GroupStats::leases_known`](crate::GroupStats::leases_known) tells a program.
//!
//! `examples/monitoring` has alert rules for Prometheus and a dashboard for Grafana; a test holds every name in them
//! against the page.
//!
//! # The names
//!
//! | of each | name | what |
//! |---|---|---|
//! | group | `millpond_ready`, `millpond_leased`, `millpond_delayed`, `millpond_retrying`, `millpond_key_blocked`, `millpond_dead` | where its messages are, each in one of them |
//! | | `millpond_oldest_claimable_seconds` | age of the oldest message that can be handed out now: what is delayed, blocked by its key or paused does not count |
//! | | `millpond_delivered_total`, `millpond_redelivered_total` | handed out; for the second time or later |
//! | | `millpond_acked_total`, `millpond_failed_total`, `millpond_released_total`, `millpond_buried_total`, `millpond_redriven_total` | what became of it |
//! | | `millpond_lease_timeouts_total` | leases that ran out |
//! | | `millpond_wait_seconds`, `millpond_processing_seconds`, `millpond_end_to_end_seconds` | histograms: publish to first hand-out; hand-out to settlement; *first* publish to ack, over all retries |
//! | | `millpond_passed_total` | left without an ack, by cause |
//! | | `millpond_paused`, `millpond_breaker_open`, `millpond_suspects` | why nothing may be handed out |
//! | topic | `millpond_published_total`, `millpond_published_bytes_total`, `millpond_duplicates_refused_total` | what came in |
//! | | `millpond_backlog_messages`, `millpond_backlog_bytes`, `millpond_waiting_publishes` | what some group is not done with; who waits for room |
//! | | `millpond_topic_messages`, `millpond_topic_bytes`, `millpond_topic_delayed`, `millpond_dropped_total` | what is there, and what a policy dropped, by cause |
//! | store | `millpond_fsync_seconds`, `millpond_commit_bytes` | histograms: how long a sync takes; how much one commit writes for all who wait |
//! | | `millpond_corrupt_records_total`, `millpond_stale_settlements_total` | damage met while reading; settlements by who had lost the lease |
//! | | `millpond_disk_bytes`, `millpond_live_bytes`, `millpond_segments`, `millpond_full`, `millpond_poisoned` | the disk |
//! | | `millpond_ids`, `millpond_ids_memory_bytes`, `millpond_ids_disk_bytes`, `millpond_ids_reused_total` | deduplication |
//!
//! Counters begin at zero when the store is opened, but for `millpond_dropped_total` and `millpond_passed_total`, which
//! are a part of the store's state. Times are in whole milliseconds, syncs in microseconds; a histogram is off by an
//! eighth at most.
//!
//! There are at most 1024 topics and 1024 groups on the page. Counters of those beyond are added up under the topic
//! `(others)`, and `millpond_unlisted_topics` says how many topics have no gauges: a page must not grow with the data.
//!
//! # What to be woken for
//!
//! * `millpond_oldest_claimable_seconds` above what your users bear. It is the one number that says that work is not
//!   being done: unlike a length of a queue it does not rise with a burst that is being worked off.
//! * `millpond_poisoned`, `millpond_corrupt_records_total`, `millpond_full`: the disk.
//! * A rising `millpond_buried_total`, in office hours: somebody has to look at dead letters.
//!
//! Not for `millpond_retrying` or `millpond_failed_total` by themselves: retries are what the queue is for.
//!
//! # Traces
//!
//! [`tracing`](super::tracing) has the spans and the names by which OpenTelemetry knows them.
