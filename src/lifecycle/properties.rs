//! Random sequences of events: whatever happens in whatever order, the promises hold.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::{Action, Environment, Event, Rules};
use crate::model::{Cause, Phase, Wanted, spec_for_tests};

/// What the world does; instances are named by their place among the live ones.
#[derive(Debug, Clone)]
enum Happening {
    Start,
    Stop,
    Restart,
    Reload,
    Running(usize),
    NotStarted(usize),
    Blocked(usize),
    Unblocked,
    Ended(usize, Cause),
    SoftCeiling(usize),
    Scale(u32),
    Stray(u32),
    Wait(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    let cause = prop_oneof![Just(Cause::Exit), Just(Cause::Crash), Just(Cause::MemoryCeiling)];
    prop_oneof![
        Just(Happening::Start),
        Just(Happening::Stop),
        Just(Happening::Restart),
        Just(Happening::Reload),
        (0..4_usize).prop_map(Happening::Running),
        (0..4_usize).prop_map(Happening::NotStarted),
        (0..4_usize).prop_map(Happening::Blocked),
        Just(Happening::Unblocked),
        (0..4_usize, cause).prop_map(|(at, cause)| Happening::Ended(at, cause)),
        (0..4_usize).prop_map(Happening::SoftCeiling),
        (1..5_u32).prop_map(Happening::Scale),
        (0..9_u32).prop_map(Happening::Stray),
        (0..20_000_u64).prop_map(Happening::Wait),
    ]
}

fn rules(instances: u32, give_up_after: u32) -> Rules {
    let spec = spec_for_tests("a");
    let restart = crate::model::Restart { give_up_after, ..spec.restart };
    Rules { restart, grace: Duration::from_secs(5), instances }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_promises_hold(
        instances in 1..5_u32,
        give_up_after in prop_oneof![Just(0_u32), 1..5_u32],
        story in proptest::collection::vec(happening(), 1..120),
    ) {
        let (mut instances, mut most) = (instances, instances);
        let mut environment = Environment::new(rules(instances, give_up_after), 1);
        let mut now = Duration::from_secs(1);
        let mut live: BTreeSet<u32> = BTreeSet::new();
        let mut seen: BTreeSet<u32> = BTreeSet::new();
        let mut signalled: BTreeSet<u32> = BTreeSet::new();
        for happening in story {
            let pick = |at: usize| live.iter().copied().nth(at % live.len().max(1));
            let event = match happening {
                Happening::Start => Event::Start,
                Happening::Stop => Event::Stop,
                Happening::Restart => Event::Restart,
                Happening::Reload => Event::Reload,
                Happening::Stray(id) => Event::Ended { id: id + 1_000_000, cause: Cause::Crash },
                Happening::Wait(ms) => { now += Duration::from_millis(ms); Event::Tick }
                Happening::Running(at) => match pick(at) { Some(id) => Event::Running { id }, None => continue },
                Happening::NotStarted(at) => match pick(at) { Some(id) => Event::NotStarted { id }, None => continue },
                Happening::Blocked(at) => match pick(at) { Some(id) => Event::Blocked { id }, None => continue },
                Happening::Unblocked => Event::Unblocked,
                Happening::Scale(count) => {
                    (instances, most) = (count, most.max(count));
                    environment.set_rules(rules(instances, give_up_after));
                    Event::Tick
                }
                Happening::Ended(at, cause) => match pick(at) { Some(id) => Event::Ended { id, cause }, None => continue },
                Happening::SoftCeiling(at) => match pick(at) { Some(id) => Event::SoftCeiling { id }, None => continue },
            };
            if let Event::Ended { id, .. } | Event::NotStarted { id } | Event::Blocked { id } = event { live.remove(&id); }
            let was_stop = event == Event::Stop;
            let actions = environment.step(&event, now);
            // The new one of a reload that is not up in time is not asked to end first.
            let abandoned = actions.iter().find_map(|action| match action {
                Action::Reloaded { failed: Some((id, _)) } => Some(*id),
                _ => None,
            });
            for action in actions {
                match action {
                    Action::Launch { id } => {
                        prop_assert!(environment.wanted() == Wanted::Online, "a launch though stopped");
                        prop_assert!(!was_stop, "a stop was overtaken by a start");
                        prop_assert!(seen.insert(id), "a number was used twice");
                        live.insert(id);
                    }
                    Action::Signal { id } => {
                        prop_assert!(live.contains(&id));
                        prop_assert!(signalled.insert(id), "signalled twice");
                    }
                    Action::Kill { id } => {
                        prop_assert!(live.contains(&id));
                        if abandoned == Some(id) {
                            signalled.insert(id);
                        }
                        prop_assert!(signalled.contains(&id), "killed without a word");
                    }
                    Action::Record { id, .. } => prop_assert!(!live.contains(&id)),
                    Action::Pause { delay } => prop_assert!(delay <= Duration::from_secs(30)),
                    Action::Rest { .. } | Action::Reloaded { .. } | Action::Relieve { .. } => {}
                }
            }
            prop_assert!(live.len() <= most as usize + 1, "more instances than wanted");
            let ending = live.iter().filter(|id| signalled.contains(id)).count();
            let more = usize::from(environment.is_reloading());
            prop_assert!(live.len() - ending <= instances as usize + more, "more than wanted stay");
            let known: BTreeSet<u32> = environment.instances().map(|(id, _)| id).collect();
            prop_assert_eq!(&known, &live, "the machine and the world agree on what lives");
            if environment.wanted() == Wanted::Online {
                let has_next = !live.is_empty()
                    || environment.next_try().is_some()
                    || environment.is_blocked()
                    || environment.rest_state().is_some();
                prop_assert!(has_next, "a wanted environment has no next step");
                prop_assert!(environment.phase() != Phase::Stopped || environment.rest_state().is_some());
            }
            // A killed instance is waited for; everything else that is stopping has a deadline ahead.
            if let Some(at) = environment.next_step() {
                prop_assert!(at > now || environment.step(&Event::Tick, now).is_empty());
            }
        }
        // Whatever was: who is asked to start brings it up, given that nothing dies any more but what was asked to.
        for _ in 0..20 {
            now += Duration::from_secs(1);
            environment.step(&Event::Start, now);
            let phases: Vec<_> = environment.instances().map(|(id, one)| (id, one.phase())).collect();
            for (id, phase) in phases {
                match phase {
                    Phase::Starting => environment.step(&Event::Running { id }, now),
                    Phase::Stopping => environment.step(&Event::Ended { id, cause: Cause::Exit }, now),
                    _ => Vec::new(),
                };
            }
        }
        prop_assert_eq!(environment.phase(), Phase::Online);
        let mut places: Vec<u32> = environment.instances().map(|(_, one)| one.place()).collect();
        places.sort_unstable();
        prop_assert_eq!(places, (0..instances).collect::<Vec<_>>(), "each number has one");
    }
}

#[test]
fn a_graceful_stop_that_is_ignored_ends_in_a_kill() {
    let mut environment = Environment::new(rules(1, 0), 7);
    let second = Duration::from_secs(1);
    assert_eq!(environment.step(&Event::Start, second), [Action::Launch { id: 7 }]);
    environment.step(&Event::Running { id: 7 }, second);
    assert_eq!(environment.step(&Event::Stop, second * 2), [Action::Signal { id: 7 }]);
    assert_eq!(environment.next_step(), Some(second * 7));
    assert_eq!(environment.step(&Event::Tick, second * 6), []);
    assert_eq!(environment.step(&Event::Tick, second * 7), [Action::Kill { id: 7 }]);
    assert_eq!(environment.step(&Event::Tick, second * 8), [], "killed once");
    let end = environment.step(&Event::Ended { id: 7, cause: Cause::Crash }, second * 9);
    assert_eq!(end, [Action::Record { id: 7, cause: Cause::Deadline }]);
    assert_eq!(environment.phase(), Phase::Stopped);
}

#[test]
fn a_breach_restarts_with_back_off_and_a_restart_order_without() {
    let mut environment = Environment::new(rules(1, 0), 1);
    let second = Duration::from_secs(1);
    environment.step(&Event::Start, second);
    environment.step(&Event::Running { id: 1 }, second);
    let breach = Event::Ended { id: 1, cause: Cause::MemoryCeiling };
    let actions = environment.step(&breach, second * 2);
    let delay = Duration::from_millis(100);
    assert_eq!(
        actions,
        [Action::Record { id: 1, cause: Cause::MemoryCeiling }, Action::Pause { delay }]
    );
    assert_eq!(environment.phase(), Phase::Backoff);
    let again = environment.step(&Event::Tick, second * 3);
    assert_eq!(again, [Action::Launch { id: 2 }]);
    assert_eq!(environment.restarts(), 1);
    environment.step(&Event::Running { id: 2 }, second * 3);
    assert_eq!(environment.step(&Event::Restart, second * 4), [Action::Signal { id: 2 }]);
    let end = environment.step(&Event::Ended { id: 2, cause: Cause::Exit }, second * 4);
    assert_eq!(end, [Action::Record { id: 2, cause: Cause::Restarted }, Action::Launch { id: 3 }]);
    assert_eq!((environment.restarts(), environment.unstable()), (2, 0));
}
