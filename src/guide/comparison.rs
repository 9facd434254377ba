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
//! guarantee, which is found out by counting its syncs.
//!
//! ```sh
//! cargo run --release --manifest-path benches/compare/Cargo.toml            # 20 minutes; `-- --quick`: under three
//! ```
//!
//! Some rows of a run on 1 December 2026 (2 cores, AMD EPYC, virtual NVMe disk, ext4, Linux 6.18), in messages a
//! second: in an empty directory, as everybody's, and in a store that has been used and writes to its files again.
//! The best alternative is the fastest with the same guarantee; who says durable and does not sync, as NATS by its
//! defaults, commitlog, and sled on Linux, is not counted here. All rows are in `benches/compare/results`, with
//! plots, the version and the guarantee of each, and a list of where we lose.
//!
//! | work | guarantee | millpond | used | used, of the floor | best alternative |
//! |---|---|---|---|---|---|
//! | 100 B, one a call | in a buffer | 4.48 M | 4.70 M | 3.97 | yaque 1.08 M, with the kernel |
//! | 100 B, one a call | with the kernel | 0.87 M | 0.82 M | 0.70 | yaque 1.08 M |
//! | 100 B, batches of 100 | with the kernel | 7.4 M | 12.5 M | 0.98 | yaque 9.6 M |
//! | 1 KiB, 4 threads | with the kernel | 0.41 M | 0.72 M | 1.00 | yaque 0.57 M |
//! | 1 KiB, 4 threads | in a buffer | 1.42 M | 1.83 M | 2.55 | yaque 0.57 M, with the kernel |
//! | 100 B, one a call | synced | 11.7 k | 11.0 k | 0.98 | okaywal 11.7 k |
//! | 1 KiB, 4 threads | synced | 19.7 k | 19.6 k | 1.12 | okaywal 21.6 k |
//! | 1 KiB, 16 threads | synced | 57.4 k | 64.8 k | 1.32 | okaywal 51.8 k |
//! | 1 KiB, 64 threads | synced | 129 k | 173 k | 2.73 | raft-engine 122 k |
//! | 1 KiB, 256 threads | synced | 168 k | 186 k | 2.50 | raft-engine 148 k |
//! | batches of 100 x 100 B | synced | 791 k | 966 k | 0.97 | okaywal 1.03 M |
//! | batches of 1000 x 100 B | synced | 2.85 M | 4.38 M | 0.64 | okaywal 4.16 M |
//! | batches of 100 x 1 KiB | synced | 371 k | 543 k | 0.76 | okaywal 562 k |
//! | batches of 1000 x 1 KiB | synced | 887 k | 1.29 M | 0.63 | okaywal 1.04 M |
//! | 100 B, 1000 under way | synced | 1.94 M | 2.49 M | 0.37 | none has it |
//! | leased and acked in batches of 100 | acks lazy | 6.5 M | | | commitlog 14.0 M: a cursor, no leases |
//! | leased and acked, 1 consumer | acks synced | 8.6 k | | 0.79 | queue-file 11.1 k |
//! | leased and acked, 8 consumers | acks synced | 29.5 k | | 0.97 | Redis streams 10.7 k |
//!
//! Two things are behind most of the rows that are lost. In an empty store every block is new, which costs more to
//! sync than one that was written before, and every page has to be found; okaywal, as it is used here, forgets a file
//! when it is full and writes to it again, as a store in service does. And a log that has a cursor and no leases
//! writes nothing for a message that is taken.
//!
//! An independent look at what default settings mean: Jepsen on
//! [NATS 2.12.1](https://jepsen.io/analyses/nats-2.12.1) found that acknowledged messages were lost when the machines
//! of a cluster lost power together, and says that the default sync interval was at least a part of the cause.
