//! Comparison with what one would use instead: facts, with where they are from.
//!
//! millpond is for one machine and one process. What it is compared with here is mostly for more than that. Where a
//! line says what another system does by default, its own documentation is linked; look there, since defaults change.
//!
//! | | where it runs | a message that was answered survives a power cut | many readers of one message | failed messages |
//! |---|---|---|---|---|
//! | millpond | in your program, one process, one machine | yes by default ([`durable`](super::durable)) | groups, each with its own progress | retries with waits, dead letters in place with their errors |
//! | a table and `SKIP LOCKED` | in your database; PostgreSQL names this use of [`SKIP LOCKED`](https://www.postgresql.org/docs/current/sql-select.html) | as the database commits | you write it | you write it: [`migration`](super::migration) |
//! | SQLite as a queue | in your program | with `synchronous=FULL`; `NORMAL` in WAL mode [may roll back after a power loss](https://www.sqlite.org/pragma.html#pragma_synchronous) | you write it | you write it |
//! | [beanstalkd](https://beanstalkd.github.io/) | a server | only with a binlog (`-b`), synced every 50 ms by default [since 2020](https://github.com/beanstalkd/beanstalkd/pull/581), before that never | no | `bury`, by the worker |
//! | Redis streams | a server | only with `appendonly yes`, which is not the default; then `appendfsync everysec` is the [recommended and default policy](https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/): a second may be lost | consumer groups | [`XCLAIM`, `XAUTOCLAIM`](https://redis.io/docs/latest/commands/xautoclaim/) and a counter of deliveries |
//! | NATS JetStream | servers, replicated if you like | synced [every two minutes by default](https://github.com/nats-io/nats.docs/pull/896/files); `sync_interval: always` for each write | consumers | redelivery up to a maximum |
//! | Amazon SQS | a service | yes: [stored redundantly on several servers](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-resilience.html) | no; one queue for each reader, by way of SNS | a [redrive policy](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html) to another queue |
//!
//! # What they have and millpond has not
//!
//! * **More than one machine.** NATS, Redis, SQS, RabbitMQ, Kafka and a replicated database go on when a machine is
//!   lost with its disk. millpond does not: a [backup](crate::Store::backup) is what you have then.
//! * **Many processes and languages.** They have a protocol. millpond has one owner, and others that look.
//! * **Transactions with your own tables.** A queue in your database commits with your rows. millpond has an outbox
//!   pattern for that, and [transactions](super::transactions) of its own.
//! * **Years of use.** All of them have it.
//!
//! # What millpond has and they mostly have not
//!
//! * No server to run, secure, upgrade and monitor: no network between the program and its queue.
//! * Durable by default, with the cost stated beside the floor of the machine.
//! * A dead letter stays where it was, with its errors, and comes back to the one group that gave it up.
//! * [`why`](crate::Consumer::why): one sentence on what a message is waiting for.
//! * A message that kills its process is found, without a timeout to wait for ([`poison`](super::poison)).
//!
//! # Figures
//!
//! `benches/compare` in the source does the same work with millpond, SQLite, sled, redb, fjall, okaywal, raft-engine,
//! yaque, queue-file, commitlog, walrus, and, where they are installed, Redis, NATS and beanstalkd: each at its true
//! guarantee, which is found out by counting its syncs. It has not been run on a quiet machine yet, so no results are
//! given here; run it on yours:
//!
//! ```sh
//! cargo run --release --manifest-path benches/compare/Cargo.toml -- --quick
//! ```
//!
//! An independent look at what default settings mean: Jepsen on
//! [NATS 2.12.1](https://jepsen.io/analyses/nats-2.12.1) found that acknowledged messages were lost when the machines
//! of a cluster lost power together, and says that the default sync interval was at least a part of the cause.
