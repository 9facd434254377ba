//! The end of a run: everything is delivered and settled, or parked.

use crate::model::{Fact, Firm};
use crate::world::{Check, GROUPS, TOPICS, World};
use crate::{order, space};
use millpond::testing::Faults;
use millpond::{Clock, Offset, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;

impl World {
    /// At the end everything is delivered and settled, or parked.
    pub(crate) fn drain(&mut self) -> Check {
        self.faulty = false;
        self.full = false;
        self.die(false)?;
        self.disk.set_faults(Faults::default());
        // By then everything is due, whatever clock it goes by.
        self.clock.set_wall(Timestamp::new(1_900_000_000_000));
        self.clock.advance(Duration::from_secs(30));
        for group in 0..TOPICS * GROUPS {
            let Some(mut open) = self.open.take() else { return Err("not open".to_owned()) };
            for _ in 0..10_000 {
                let batch = open.consumers[group].lease_many(50, Duration::ZERO).map_err(|error| error.to_string())?;
                let mut any = false;
                for delivery in batch {
                    any = true;
                    let offset = delivery.offset();
                    let wall = self.clock.wall().get();
                    self.model.delivered(group / GROUPS, group, offset, delivery.payload(), wall)?;
                    self.order.delivered(&self.model, group, &open.consumers[group], &delivery, &self.clock)?;
                    self.order.over(group, &delivery);
                    delivery.ack().wait().map_err(|error| format!("the ack of {offset} fails: {error}"))?;
                    self.model.resolve(Fact::Ack { group, offset }, Firm::Os);
                }
                if open.consumers[group].idle() {
                    if order::release(&self.order, group, &open.consumers[group]).map_err(|e| e.to_string())? {
                        continue;
                    }
                    break;
                }
                if !any {
                    self.clock.advance(Duration::from_secs(31));
                }
            }
            if !open.consumers[group].idle() {
                return Err(format!("I4: group {group} is never idle: {:?}", open.consumers[group].stats()));
            }
            order::note_parked(&mut self.model, &open.consumers)?;
            let dead = open.consumers[group].dead_letters().collect::<Result<Vec<_>, _>>();
            let dead = dead.map_err(|error| error.to_string())?;
            let dead: BTreeSet<Offset> = dead.iter().map(|letter| letter.offset()).collect();
            self.model.drained(group / GROUPS, group, &dead)?;
            self.settle_pending(&mut open);
            self.open = Some(open);
        }
        self.poison.rest();
        self.poison.check()?;
        self.rules.check()?;
        self.narrow.drain()?;
        self.sorted.drain()?;
        let Some(open) = self.open.take() else { return Err("not open".to_owned()) };
        if let Some(ids) = &open.ids {
            self.ids.gone.drain(&ids.gone)?;
        }
        space::check(&self.disk, &open.store, &self.model, open.ids.as_ref().map(|open| (&self.ids, open)))?;
        if let Some(ids) = &open.ids {
            self.ids.gone.all_known(&ids.gone)?;
        }
        let found = self.read_all(&open)?;
        space::still_there(&mut self.model, &found)
    }
}
