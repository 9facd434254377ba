//! A settlement on its way: what of it is done, what there was no room for yet, and who waits for the answer.

use super::meter::Age;
use super::settle::{Outcome, lease_lost, no_group};
use crate::config::Durability;
use crate::error::{Error, Result};
use crate::journal::Span;
use crate::ticket::{Admission, Slot};
use crate::types::{GroupId, Lsn, Offset};
use std::borrow::Cow;
use std::sync::Arc;
use std::task::Waker;

/// Messages of a run that end alike.
#[derive(Debug)]
pub(crate) struct RunPart {
    pub(crate) held: Vec<(Offset, u64)>,
    pub(crate) ages: Vec<Age>,
    pub(crate) how: Outcome,
}

/// A settlement. What there was no room for is done when it goes on.
#[derive(Debug)]
pub(super) struct Settling<'a> {
    pub(super) group: GroupId,
    pub(super) held: Cow<'a, [(Offset, u64)]>,
    /// To be counted; none of what was dropped.
    pub(super) ages: Cow<'a, [Age]>,
    pub(super) how: Cow<'a, Outcome>,
    /// How many of `held` are through; an ack is recorded all at once.
    pub(super) next: usize,
    pub(super) lost: Vec<Offset>,
    pub(super) span: Option<Span>,
    pub(super) group_gone: bool,
    /// Where its answer goes, if somebody has a ticket for it.
    pub(super) slot: Option<Arc<Slot>>,
    /// What is known of a run beyond that.
    run: Option<Box<Parts>>,
}

/// The other parts of a run.
#[derive(Debug)]
struct Parts {
    ahead: std::vec::IntoIter<RunPart>,
    /// What of those that are over was lost, or refused for good.
    lost: Vec<Offset>,
    refused: Option<Error>,
}

impl<'a> Settling<'a> {
    pub(super) fn new(group: GroupId, held: &'a [(Offset, u64)], ages: &'a [Age], how: &'a Outcome) -> Self {
        let (held, ages, how) = (Cow::Borrowed(held), Cow::Borrowed(ages), Cow::Borrowed(how));
        Self { group, held, ages, how, next: 0, lost: Vec::new(), span: None, group_gone: false, slot: None, run: None }
    }

    /// That of a run, one part after the other; none if there is nothing in them.
    pub(super) fn run(group: GroupId, mut parts: Vec<RunPart>) -> Option<Settling<'static>> {
        parts.retain(|part| !part.held.is_empty());
        let mut ahead = parts.into_iter();
        let RunPart { held, ages, how } = ahead.next()?;
        let run = Some(Box::new(Parts { ahead, lost: Vec::new(), refused: None }));
        let (held, ages, how) = (Cow::Owned(held), Cow::Owned(ages), Cow::Owned(how));
        Some(Settling {
            group,
            held,
            ages,
            how,
            next: 0,
            lost: Vec::new(),
            span: None,
            group_gone: false,
            slot: None,
            run,
        })
    }

    pub(super) fn into_owned(self) -> Settling<'static> {
        let Self { group, held, ages, how, next, lost, span, group_gone, slot, run } = self;
        let (held, ages) = (Cow::Owned(held.into_owned()), Cow::Owned(ages.into_owned()));
        Settling { group, held, ages, how: Cow::Owned(how.into_owned()), next, lost, span, group_gone, slot, run }
    }

    /// Whether its answer goes there.
    pub(super) fn answers(&self, slot: &Slot) -> bool {
        self.slot.as_ref().is_some_and(|own| std::ptr::eq(Arc::as_ptr(own), slot))
    }

    pub(super) const fn is_run(&self) -> bool {
        self.run.is_some()
    }

    /// A part of a run is refused for good.
    pub(super) fn refuse(&mut self, error: Error) {
        if let Some(run) = &mut self.run {
            run.refused.get_or_insert(error);
        }
    }

    /// Goes on with the next part of a run, if there is one.
    pub(super) fn next_part(&mut self) -> bool {
        let Some(run) = &mut self.run else { return false };
        let Some(RunPart { held, ages, how }) = run.ahead.next() else { return false };
        run.lost.append(&mut self.lost);
        (self.held, self.ages, self.how, self.next) = (Cow::Owned(held), Cow::Owned(ages), Cow::Owned(how), 0);
        true
    }

    /// It is over: tells who holds the ticket. Who is to be woken then.
    pub(super) fn answer(mut self, level: Durability) -> Option<Waker> {
        let slot = self.slot.take()?;
        let answer = self.outcome().map(|span| Admission::settled(span.map_or(Lsn::ZERO, |span| span.end), level));
        slot.fill(answer).ok().flatten()
    }

    /// It is not done, and will not be.
    pub(super) fn dismiss(mut self, why: &Error) -> Option<Waker> {
        self.slot.take()?.fill(Err(why.again())).ok().flatten()
    }

    pub(super) fn outcome(mut self) -> Result<Option<Span>> {
        if self.group_gone {
            return Err(no_group());
        }
        if let Some(mut run) = self.run.take() {
            if let Some(error) = run.refused.take() {
                return Err(error);
            }
            run.lost.append(&mut self.lost);
            self.lost = run.lost;
        }
        if self.lost.is_empty() { Ok(self.span) } else { Err(lease_lost(&self.lost)) }
    }
}
