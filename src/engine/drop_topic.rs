//! Dropping a topic with all that is in it.

use super::Engine;
use crate::error::Result;
use crate::event::{DropTopic, Event};
use std::task::Waker;

impl Engine {
    /// Drops a topic, its messages and its groups, durably. Whether there was one.
    pub(crate) fn drop_topic(&self, name: &str) -> Result<bool> {
        let dropped = self.establish(|core| {
            let Some(topic) = core.state.topic_named(name) else { return Ok((None, Vec::new())) };
            let groups = core.state.topic(topic).map(|topic| topic.groups().to_vec()).unwrap_or_default();
            Ok((Some((topic, groups)), vec![Event::DropTopic(DropTopic { topic })]))
        })?;
        let Some((topic, groups)) = dropped else { return Ok(false) };
        for group in &groups {
            self.readers.forget(*group);
        }
        let mut core = self.core.lock();
        core.visible.remove(topic);
        groups.iter().for_each(|group| _ = core.windows.remove(group));
        core.space.look_soon();
        // Whoever waits for its messages, or for room for one, is told that it is gone.
        let wakers = self.room_made(&mut core);
        self.tell_leasing(&mut core);
        drop(core);
        wakers.into_iter().for_each(Waker::wake);
        Ok(true)
    }
}
