//! A typed, async worker with retries and dead letters: `cargo run --example worker --features tokio,typed`.
#![expect(clippy::print_stdout, reason = "it is for people to watch")]
use millpond::{Group, Retry, Store, Workers};
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Serialize, Deserialize)]
struct Order {
    number: u32,
    address: String,
}

async fn send_mail(order: &Order) -> Result<(), String> {
    if order.address.contains('@') { Ok(()) } else { Err(format!("{:?} is no address", order.address)) }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::open(std::env::temp_dir().join("millpond-worker"))?;
    let orders = store.typed_topic::<Order>("orders")?;
    for (number, address) in [(1, "ada@example.org"), (2, "nowhere"), (3, "bob@example.org")] {
        orders.publish(&Order { number, address: address.into() }).await?; // on the disk now
    }

    let retry = Retry::exponential(Duration::from_millis(50), Duration::from_secs(60)).attempts(3);
    let email = orders.consumer("email", Group::default().retry(retry))?;
    let (stopper, group) = (email.untyped().stopper(), email.untyped().clone());
    tokio::spawn(async move {
        while !group.idle() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stopper.stop(); // a service would do this on Ctrl-C
    });
    let worked = email.run_async(Workers::tasks(8), |order: Order, _| async move { send_mail(&order).await }).await?;

    println!(
        "{} mails sent, {} attempts failed, {} given up",
        worked.done,
        worked.failed,
        email.untyped().stats().dead
    );
    Ok(store.close()?)
}
