//! What is told next: one thing at a time, each kind once a minute at most, so that a crash loop is one message a
//! minute with a count.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::model::{Event, Notice};

/// Between two of a kind.
const EVERY: Duration = Duration::from_secs(60);

/// The most kinds that wait.
const MOST: usize = 32;

/// What waits to be told.
#[derive(Debug, Default)]
pub struct Notices {
    waiting: VecDeque<Notice>,
    /// When each kind was told last.
    told: BTreeMap<String, Duration>,
}

impl Notices {
    /// Those that an earlier program had not told.
    #[must_use]
    pub fn of(waiting: Vec<Notice>) -> Self {
        Self { waiting: waiting.into(), told: BTreeMap::new() }
    }

    /// All that waits.
    pub fn waiting(&self) -> impl Iterator<Item = &Notice> {
        self.waiting.iter()
    }

    /// Something happened.
    pub fn add(&mut self, word: &str, event: &Event) {
        if let Some(notice) = self.waiting.iter_mut().find(|notice| notice.word == word) {
            notice.times += 1;
            notice.event = event.clone();
        } else if self.waiting.len() < MOST {
            let word = word.to_owned();
            self.waiting.push_back(Notice { word, event: event.clone(), times: 1 });
        }
    }

    /// What is to be told now.
    pub fn take(&mut self, now: Duration) -> Option<Notice> {
        let index = self.waiting.iter().position(|notice| self.due(notice) <= now)?;
        let notice = self.waiting.remove(index)?;
        self.told.insert(notice.word.clone(), now);
        Some(notice)
    }

    /// What was taken was not told.
    pub fn put_back(&mut self, notice: Notice) {
        self.told.remove(&notice.word);
        self.waiting.push_front(notice);
    }

    /// When something is to be told.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        self.waiting.iter().map(|notice| self.due(notice)).min()
    }

    fn due(&self, notice: &Notice) -> Duration {
        self.told.get(&notice.word).map_or(Duration::ZERO, |told| *told + EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventKind;

    fn event(n: u32) -> Event {
        let kind = EventKind::Started { pid: 1 };
        Event { at: format!("2026-11-26T00:00:{n:02}Z"), instance: Some(n), kind }
    }

    #[test]
    fn a_loop_is_one_message_a_minute_with_a_count() {
        let second = Duration::from_secs;
        let mut notices = Notices::default();
        assert_eq!(notices.next_due(), None);
        notices.add("crash", &event(1));
        let first = notices.take(second(10)).expect("at once");
        assert_eq!((first.word.as_str(), first.times), ("crash", 1));
        for n in 2..12 {
            notices.add("crash", &event(n));
        }
        assert_eq!(notices.take(second(69)), None);
        assert_eq!(notices.next_due(), Some(second(70)));
        // Another kind does not wait for it.
        notices.add("leak", &event(50));
        assert_eq!(notices.take(second(30)).map(|notice| notice.word), Some("leak".to_owned()));
        let next = notices.take(second(70)).expect("due");
        assert_eq!((next.times, next.event.instance), (10, Some(11)));
    }

    #[test]
    fn what_waits_is_bounded_and_goes_over() {
        let mut notices = Notices::default();
        for n in 0..100 {
            notices.add(&format!("kind {n}"), &event(1));
        }
        assert_eq!(notices.waiting().count(), MOST);
        let mut next = Notices::of(notices.waiting().cloned().collect());
        assert!(next.take(Duration::ZERO).is_some());
    }
}
