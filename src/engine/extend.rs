//! Lengthening leases.

use super::Engine;
use crate::config::Durability;
use crate::error::{Code, Error, Result};
use crate::event::{Delivered, Event, Run};
use crate::state::Hold;
use crate::types::{GroupId, Offset};
use std::borrow::Cow;
use std::time::Duration;

impl Engine {
    /// Lengthens a lease: it runs out `by` from now. One that ran out and was not given away runs again, and that is
    /// in the journal first, as for any hand-out.
    pub(crate) fn extend(&self, group: GroupId, offset: Offset, epoch: u64, by: Duration) -> Result<()> {
        let now = self.now();
        let mut deadline = self.after(by);
        let named = loop {
            let mut core = self.open_core()?;
            let Some(held) = core.state.group(group) else { return Err(super::settle::no_group()) };
            let hold = held.check(offset, epoch);
            if hold == Hold::Lost || !held.is_open(offset) || (hold == Hold::Late && !held.may_resume(offset, epoch)) {
                let what =
                    format!("the lease of offset {offset} ran out, or the message is settled: it can't be extended");
                return Err(Error::new(Code::LeaseLost, what));
            }
            if hold == Hold::Late && held.leased() as u64 >= held.policy().max_in_flight {
                let what = format!("the lease of offset {offset} ran out, and others use all of `max_in_flight` now");
                return Err(Error::new(Code::LeaseLost, what));
            }
            let age = held.policy().max_lease_age;
            if let Some(last) = held.granted(offset, epoch).map(|granted| granted.plus(age)).filter(|_| !age.is_zero())
            {
                if last <= now {
                    let what = format!("offset {offset} was held for as long as the group's `max_lease_age` allows");
                    return Err(Error::new(Code::LeaseLost, what));
                }
                deadline = deadline.min(last);
            }
            let unnamed = hold == Hold::Late && held.needs_record(offset);
            let runs = Cow::Owned(vec![Run::one(offset)]);
            let recorded =
                if unnamed { core.record(&Event::Delivered(Delivered { group, runs })).map(Some) } else { Ok(None) };
            match recorded {
                Ok(named) => {
                    if let Some(held) = core.state.group_mut(group) {
                        held.extend(offset, epoch, deadline);
                    }
                    self.upkeep_by(&mut core, deadline);
                    break named;
                }
                Err(refusal) => {
                    drop(core);
                    self.relieve(refusal)?;
                }
            }
        };
        match named {
            Some(span) => self.drive(span.end, Durability::Os, None).map(drop),
            None => Ok(()),
        }
    }
}
