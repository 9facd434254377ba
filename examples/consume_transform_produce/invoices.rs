//! The pattern: what is read, what is written, and what was counted on the way are one transaction.
//!
//! A worker leases an order, makes an invoice of it, and commits in one frame: the invoice, that the order is done, and
//! the sum of everything billed. Wherever it dies, all three have happened or none; then the order comes again. Kafka
//! calls this read-process-write, and Kafka Streams exactly-once processing.

use millpond::{Consumer, ErrorKind, Group, Message, Result, Store, Topic};
use std::collections::BTreeSet;

/// The application's values: how many orders were accepted, and the sum of all invoices in cents.
const ACCEPTED: &str = "orders accepted";
const BILLED: &str = "cents billed";

pub(crate) struct Office {
    store: Store,
    orders: Topic,
    invoices: Topic,
    pub(crate) billing: Consumer,
}

/// What an order costs, in cents: any function of the order will do.
fn price(order: u64) -> u64 {
    order * 7 % 1000 + 1
}

impl Office {
    pub(crate) fn open(store: &Store) -> Result<Self> {
        let orders = store.topic("orders")?;
        let billing = orders.consumer("billing", Group::default())?;
        Ok(Self { store: store.clone(), orders, invoices: store.topic("invoices")?, billing })
    }

    /// Accepts so many orders, once: that they were accepted is said in the same frame.
    pub(crate) fn accept(&self, count: u64) -> Result<()> {
        if self.store.get(ACCEPTED)?.is_some() {
            return Ok(());
        }
        let mut tx = self.store.transaction();
        for order in 0..count {
            tx.publish(&self.orders, order.to_string());
        }
        tx.set(ACCEPTED, count.to_string());
        tx.commit().wait().map(drop)
    }

    /// Makes an invoice of the next order; its number, if there was an order.
    pub(crate) fn bill_one(&self) -> Result<Option<u64>> {
        let Some(order) = self.billing.try_lease()? else { return Ok(None) };
        let cents = price(number(order.payload()));
        let mut tx = self.store.transaction();
        tx.ack(order);
        loop {
            // The number of the invoice, and the sum, depend on all before it: nobody else may have come in between.
            let end = self.invoices.end_offset();
            let billed = self.value(BILLED)? + cents;
            let invoice = end.get() + 1;
            let text = format!("invoice {invoice} over {cents}");
            tx.expect_end(&self.invoices, end)
                .publish(&self.invoices, Message::new(text))
                .set(BILLED, billed.to_string());
            match tx.commit().wait() {
                Ok(_) => return Ok(Some(invoice)),
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    // Another worker was quicker: what was leased is still ours, all else is made anew.
                    let Some(deliveries) = error.into_deliveries() else { return Ok(None) };
                    tx = self.store.transaction();
                    deliveries.into_iter().for_each(|delivery| _ = tx.ack(delivery));
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn value(&self, key: &str) -> Result<u64> {
        Ok(self.store.get(key)?.map_or(0, |value| number(&value)))
    }

    /// What is not as it should be, once all orders are billed.
    pub(crate) fn wrong(&self, orders: u64) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let (mut sum, mut next) = (0, 1);
        let mut prices = BTreeSet::new();
        for record in self.invoices.read(..) {
            let record = record?;
            let text = String::from_utf8_lossy(record.payload()).into_owned();
            let words: Vec<&str> = text.split(' ').collect();
            let [_, number, _, cents] = words.as_slice() else { return Ok(vec![format!("{text}?")]) };
            if number.parse() != Ok(next) {
                wrong.push(format!("invoice {number} stands where {next} should"));
            }
            next += 1;
            let cents: u64 = cents.parse().unwrap_or_default();
            sum += cents;
            prices.insert(cents);
        }
        let expected: u64 = (0..orders).map(price).sum();
        if (next - 1, sum) != (orders, expected) {
            wrong.push(format!("{} invoices over {sum} for {orders} orders of {expected}", next - 1));
        }
        if self.value(BILLED)? != sum {
            wrong.push(format!("the books say {}, the invoices {sum}", self.value(BILLED)?));
        }
        if prices != (0..orders).map(price).collect() {
            wrong.push("an order was billed that there is not".to_owned());
        }
        Ok(wrong)
    }
}

fn number(bytes: &[u8]) -> u64 {
    String::from_utf8_lossy(bytes).parse().unwrap_or_default()
}
