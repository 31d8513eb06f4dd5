//! Which releases were deployed: what comes before the one in use, and which are old.

use serde::{Deserialize, Serialize};

use crate::model::ReleaseName;

/// A release that is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Which.
    pub name: ReleaseName,
    /// Whether something ran before: then that is to run again where it does not hold.
    pub has_run: bool,
}

/// What is known of an environment's releases.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Releases {
    /// Those that have held, each once, in the order in which one goes back; the last is the one that is chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    held: Vec<ReleaseName>,
    /// Those that have not held or were gone back from, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    left: Vec<ReleaseName>,
    /// One that is on trial: it is not chosen before it has held, also where the runner was killed meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
}

impl Releases {
    /// The one that is chosen, once one has held.
    #[must_use]
    pub fn current(&self) -> Option<&ReleaseName> {
        self.held.last()
    }

    /// The one to go back to.
    #[must_use]
    pub fn before(&self) -> Option<&ReleaseName> {
        self.held.iter().rev().nth(1)
    }

    /// The one that an instance starts with.
    #[must_use]
    pub fn in_use(&self) -> Option<&ReleaseName> {
        self.trial.as_ref().map(|trial| &trial.name).or(self.current())
    }

    /// One is tried.
    pub fn begin(&mut self, trial: Trial) {
        self.trial = Some(trial);
    }

    /// The one on trial has held; where it is the one before, that was a step back.
    pub fn confirm(&mut self) {
        let Some(Trial { name, .. }) = self.trial.take() else { return };
        if self.before() == Some(&name) {
            self.left.extend(self.held.pop());
            return;
        }
        self.held.retain(|held| *held != name);
        self.left.retain(|left| *left != name);
        self.held.push(name);
    }

    /// The one on trial has not held.
    pub fn take_back(&mut self) {
        let Some(Trial { name, .. }) = self.trial.take() else { return };
        if !self.held.contains(&name) {
            self.left.retain(|left| *left != name);
            self.left.push(name);
        }
    }

    /// Those that are too many where `keep` are kept, the oldest first and before all those that were left; never the
    /// one in use nor the one before it.
    #[must_use]
    pub fn old(&self, keep: usize) -> Vec<ReleaseName> {
        if self.held.is_empty() {
            return Vec::new();
        }
        let all = self.left.len() + self.held.len();
        let too_many = all.saturating_sub(keep.max(2));
        let held = &self.held[..self.held.len().saturating_sub(2)];
        self.left.iter().chain(held).take(too_many).cloned().collect()
    }

    /// They are no more.
    pub fn forget(&mut self, gone: &[ReleaseName]) {
        self.held.retain(|known| !gone.contains(known));
        self.left.retain(|known| !gone.contains(known));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ReleaseName {
        ReleaseName::parse(text).expect("a good name")
    }

    fn trial(text: &str) -> Trial {
        Trial { name: name(text), has_run: true }
    }

    fn deployed(names: &[&str]) -> Releases {
        let mut releases = Releases::default();
        for text in names {
            releases.begin(trial(text));
            releases.confirm();
        }
        releases
    }

    fn back(releases: &mut Releases) {
        let before = releases.before().expect("there is one before").clone();
        releases.begin(Trial { name: before, has_run: true });
        releases.confirm();
    }

    #[test]
    fn one_goes_back_in_the_order_of_deployment() {
        let mut releases = deployed(&["a", "b", "c"]);
        assert_eq!(
            (releases.current().cloned(), releases.before()),
            (Some(name("c")), Some(&name("b")))
        );
        back(&mut releases);
        assert_eq!(
            (releases.current().cloned(), releases.before()),
            (Some(name("b")), Some(&name("a")))
        );
        back(&mut releases);
        assert_eq!((releases.current().cloned(), releases.before()), (Some(name("a")), None));
    }

    #[test]
    fn what_was_left_is_never_gone_back_to() {
        let mut releases = deployed(&["a", "b", "bad"]);
        back(&mut releases);
        releases.begin(trial("d"));
        releases.confirm();
        assert_eq!(releases.before(), Some(&name("b")));
        // It counts as oldest.
        assert_eq!(releases.old(3), [name("bad")]);
        // The same one again is no step, and neither has what never held become one.
        releases.begin(trial("d"));
        releases.confirm();
        assert_eq!((releases.before(), releases.held.len()), (Some(&name("b")), 3));
    }

    #[test]
    fn one_on_trial_is_in_use_and_not_chosen() {
        let mut releases = deployed(&["a"]);
        releases.begin(trial("b"));
        assert_eq!((releases.in_use(), releases.current()), (Some(&name("b")), Some(&name("a"))));
        releases.take_back();
        assert_eq!((releases.in_use(), releases.before()), (Some(&name("a")), None));
        releases.begin(trial("c"));
        releases.confirm();
        assert_eq!((releases.before(), releases.old(2)), (Some(&name("a")), vec![name("b")]));
        // One that failed first and holds now is the newest.
        releases.begin(trial("b"));
        releases.confirm();
        assert_eq!((releases.before(), releases.old(2)), (Some(&name("c")), vec![name("a")]));
    }

    #[test]
    fn the_oldest_go_and_two_always_stay() {
        let mut releases = deployed(&["a", "b", "c", "d"]);
        assert_eq!(releases.old(3), [name("a")]);
        assert_eq!(releases.old(1), [name("a"), name("b")]);
        assert_eq!(releases.old(9), []);
        let old = releases.old(3);
        releases.forget(&old);
        assert_eq!(releases.held, [name("b"), name("c"), name("d")]);
        assert_eq!(Releases::default().old(2), []);
        // Nothing holds yet: nothing is removed.
        let mut first = Releases::default();
        first.begin(trial("x"));
        first.take_back();
        assert_eq!((first.old(2), first.in_use(), first.before()), (vec![], None, None));
        first.begin(trial("y"));
        first.confirm();
        assert_eq!((first.current(), first.before()), (Some(&name("y")), None));
    }
}
