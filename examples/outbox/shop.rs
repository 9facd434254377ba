//! The pattern: the business row and a row of the outbox are one SQL transaction; a relay publishes the rows of the
//! outbox, and notes in the same frame how far it has come. Richardson, *Microservices Patterns*, 2018, calls it the
//! transactional outbox with a polling publisher.
//!
//! Between two systems there is no transaction, so the relay may die between its commit in the store and the deletion
//! of the rows. It then finds in the store, not in the database, where it has to go on, and publishes nothing twice.
//! That goes by ids that rise in the order of the commits, which SQLite with its one writer gives. Where they do not (a
//! sequence of PostgreSQL, with several writers), publish whatever is in the outbox and let the message's id, which is
//! that of the row, tell what was published already.
//!
//! On the other side the same question again: the booking and that it was made are one SQL transaction, and the ack
//! comes after it.

use millpond::{Consumer, Delivery, Group, Message, Store, Topic};
use rusqlite::{Connection, OptionalExtension, params};
use std::error::Error;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The application's value: the last row of the outbox that was published.
const RELAYED: &str = "outbox/orders";
/// Rows that are published in one frame.
const ROWS: u32 = 20;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS orders (number INTEGER PRIMARY KEY, cents INTEGER NOT NULL);
    -- AUTOINCREMENT: a number is never used twice, also when the rows are gone.
    CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, payload TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS booked (id TEXT PRIMARY KEY, cents INTEGER NOT NULL);";

pub(crate) struct Shop<'a> {
    database: &'a mut Connection,
    store: Store,
    orders: Topic,
    booking: Consumer,
}

fn price(order: u64) -> u64 {
    order * 13 % 700 + 1
}

impl<'a> Shop<'a> {
    pub(crate) fn open(store: &Store, database: &'a mut Connection) -> Outcome<Self> {
        database.execute_batch(TABLES)?;
        let orders = store.topic("orders")?;
        let booking = orders.consumer("booking", Group::default())?;
        Ok(Self { database, store: store.clone(), orders, booking })
    }

    /// Takes orders up to so many, and relays and books meanwhile. Each of the three could be a program of its own; of
    /// relays there is one.
    pub(crate) fn work(&mut self, orders: u64, said: &mut dyn FnMut(u64) -> Outcome<()>) -> Outcome<()> {
        let next = self.database.query_row("SELECT count(*) FROM orders", [], |row| row.get(0))?;
        for order in next..orders {
            self.take_order(order)?;
            said(order)?;
            if order % 3 == 0 {
                self.relay()?;
                self.book_one()?;
            }
        }
        while self.relay()? || self.book_one()? {}
        Ok(())
    }

    /// What belongs together in the database: the order, and that it is to be told.
    fn take_order(&mut self, order: u64) -> Outcome<()> {
        let tx = self.database.transaction()?;
        tx.execute("INSERT INTO orders VALUES (?1, ?2)", params![order, price(order)])?;
        tx.execute("INSERT INTO outbox (payload) VALUES (?1)", [format!("{order} {}", price(order))])?;
        Ok(tx.commit()?)
    }

    /// Publishes what is in the outbox; whether there was anything.
    fn relay(&mut self) -> Outcome<bool> {
        let relayed = self.store.get(RELAYED)?.map(|value| String::from_utf8_lossy(&value).parse::<i64>());
        let relayed = relayed.transpose()?.unwrap_or_default();
        let mut select =
            self.database.prepare_cached("SELECT id, payload FROM outbox WHERE id > ?1 ORDER BY id LIMIT ?2")?;
        let rows = select.query_map(params![relayed, ROWS], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let rows: Vec<(i64, String)> = rows.collect::<Result<_, _>>()?;
        drop(select);
        let last = rows.last().map_or(relayed, |(id, _)| *id);
        let any = !rows.is_empty();
        if any {
            let mut tx = self.store.transaction();
            for (id, payload) in rows {
                tx.publish(&self.orders, Message::new(payload).id(format!("outbox-{id}")));
            }
            tx.set(RELAYED, last.to_string());
            tx.commit().wait()?;
        }
        // Also those that were published before it died the last time.
        self.database.execute("DELETE FROM outbox WHERE id <= ?1", [last])?;
        Ok(any)
    }

    /// Books the next order; whether there was one.
    fn book_one(&mut self) -> Outcome<bool> {
        let Some(order) = self.booking.try_lease()? else { return Ok(false) };
        self.book(&order)?;
        order.ack().wait()?;
        Ok(true)
    }

    /// The effect, and that it was made, are one row: the same message finds it there, and does nothing.
    fn book(&self, order: &Delivery) -> Outcome<()> {
        let id = order.id().map(|id| String::from_utf8_lossy(id).into_owned()).ok_or("an order without an id")?;
        let text = String::from_utf8_lossy(order.payload()).into_owned();
        let (_, cents) = text.split_once(' ').ok_or("not an order")?;
        let known = "SELECT 1 FROM booked WHERE id = ?1";
        if self.database.query_row(known, [&id], |_| Ok(())).optional()?.is_none() {
            self.database.execute("INSERT INTO booked VALUES (?1, ?2)", params![id, cents.parse::<i64>()?])?;
        }
        Ok(())
    }

    /// What is not as it should be, once there is nothing left to do.
    pub(crate) fn wrong(&self, orders: u64) -> Outcome<Vec<String>> {
        let mut wrong = Vec::new();
        let sums =
            |sql: &str| self.database.query_row(sql, [], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, u64>(1)?)));
        let expected: (u64, u64) = (orders, (0..orders).map(price).sum());
        for (what, sql) in [
            ("orders", "SELECT count(*), coalesce(sum(cents), 0) FROM orders"),
            ("bookings", "SELECT count(*), coalesce(sum(cents), 0) FROM booked"),
        ] {
            let found = sums(sql)?;
            if found != expected {
                wrong.push(format!("{what}: {found:?}, and not {expected:?}"));
            }
        }
        // Each was published once: more would have been booked once all the same.
        if self.orders.end_offset().get() != orders {
            wrong.push(format!("{} messages were published for {orders} orders", self.orders.end_offset()));
        }
        Ok(wrong)
    }
}
