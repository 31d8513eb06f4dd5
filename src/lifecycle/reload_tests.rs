use std::time::Duration;

use super::{Action, Environment, Event, Rules};
use crate::model::{Cause, Phase, spec_for_tests};

const SECOND: Duration = Duration::from_secs(1);

/// An environment whose instances are all up.
fn up(instances: u32) -> Environment {
    let restart = spec_for_tests("a").restart;
    let rules = Rules { restart, grace: SECOND * 5, instances };
    let mut environment = Environment::new(rules, 1);
    environment.step(&Event::Start, SECOND);
    for id in 1..=instances {
        environment.step(&Event::Running { id }, SECOND);
    }
    assert_eq!(environment.phase(), Phase::Online);
    environment
}

/// The new one is up, and the old one is asked to end.
#[track_caller]
fn takes_over(environment: &mut Environment, new: u32, old: u32) {
    let up = environment.step(&Event::Running { id: new }, SECOND);
    assert_eq!(up, [Action::Relieve { old, new }]);
    let actions = environment.step(&Event::Tick, SECOND * 2);
    assert_eq!(actions, [Action::Signal { id: old }]);
}

fn ended(id: u32) -> Event {
    Event::Ended { id, cause: Cause::Exit }
}

#[test]
fn the_old_one_goes_only_when_the_new_one_is_up() {
    let mut environment = up(1);
    assert_eq!(environment.step(&Event::Reload, SECOND), [Action::Launch { id: 2 }]);
    assert!(environment.is_newcomer(2) && environment.phase() == Phase::Online);
    assert_eq!(environment.step(&Event::Tick, SECOND * 30), []);
    assert_eq!(
        environment.step(&Event::Running { id: 2 }, SECOND * 31),
        [Action::Relieve { old: 1, new: 2 }]
    );
    let now = environment.next_step().expect("it is not relieved for ever");
    assert_eq!(environment.step(&Event::Tick, SECOND * 31), []);
    assert_eq!(environment.step(&Event::Tick, now), [Action::Signal { id: 1 }]);
    assert!(!environment.is_newcomer(2) && environment.phase() == Phase::Online);
    assert_eq!(
        environment.step(&ended(1), now),
        [Action::Record { id: 1, cause: Cause::Restarted }, Action::Reloaded { failed: None }]
    );
    assert_eq!(environment.step(&Event::Tick, SECOND * 99), []);
    assert_eq!((environment.phase(), environment.unstable()), (Phase::Online, 0));
}

#[test]
fn instances_are_replaced_one_by_one() {
    let mut environment = up(2);
    assert_eq!(environment.step(&Event::Reload, SECOND), [Action::Launch { id: 3 }]);
    takes_over(&mut environment, 3, 1);
    assert_eq!(environment.step(&Event::Tick, SECOND * 2), [], "the old one is waited for");
    let gone = environment.step(&ended(1), SECOND);
    assert_eq!(gone[1..], [Action::Launch { id: 4 }]);
    takes_over(&mut environment, 4, 2);
    assert_eq!(environment.step(&ended(2), SECOND)[1..], [Action::Reloaded { failed: None }]);
    let live: Vec<u32> = environment.instances().map(|(id, _)| id).collect();
    assert_eq!(live, [3, 4]);
}

#[test]
fn a_new_one_that_dies_changes_nothing() {
    let mut environment = up(1);
    environment.step(&Event::Reload, SECOND);
    for failed in [ended(2), Event::NotStarted { id: 2 }] {
        let mut environment = environment.clone();
        let actions = environment.step(&failed, SECOND * 2);
        assert!(
            matches!(
                &actions[..],
                [Action::Record { id: 2, .. }, Action::Reloaded { failed: Some((2, _)) }]
            ),
            "{actions:?}"
        );
        assert_eq!((environment.phase(), environment.unstable()), (Phase::Online, 0));
        assert_eq!(environment.next_try(), None);
        assert_eq!(environment.step(&Event::Tick, SECOND * 99), []);
    }
}

#[test]
fn a_new_one_that_is_never_ready_is_killed() {
    let mut environment = up(1);
    environment.step(&Event::Reload, SECOND);
    let at = environment.next_step().expect("a deadline");
    let actions = environment.step(&Event::Tick, at);
    assert!(
        matches!(&actions[..], [Action::Kill { id: 2 }, Action::Reloaded { failed: Some((2, _)) }]),
        "{actions:?}"
    );
    assert_eq!(environment.step(&ended(2), at), [Action::Record { id: 2, cause: Cause::Deadline }]);
    assert_eq!((environment.phase(), environment.unstable()), (Phase::Online, 0));
}

#[test]
fn a_new_one_whose_port_is_anothers_fails_the_reload_at_once() {
    let mut environment = up(1);
    environment.step(&Event::Reload, SECOND);
    let actions = environment.step(&Event::Blocked { id: 2 }, SECOND);
    assert!(matches!(&actions[..], [Action::Reloaded { failed: Some((2, _)) }]), "{actions:?}");
    assert!(!environment.is_reloading());
    assert_eq!((environment.phase(), environment.restarts()), (Phase::Online, 0));
    assert_eq!(environment.step(&Event::Unblocked, SECOND), []);
}

#[test]
fn either_may_die_while_the_old_one_is_relieved() {
    let mut environment = up(1);
    environment.step(&Event::Reload, SECOND);
    environment.step(&Event::Running { id: 2 }, SECOND);
    let mut other = environment.clone();
    let actions = environment.step(&ended(2), SECOND);
    assert!(
        matches!(&actions[1..], [Action::Reloaded { failed: Some((2, why)) }] if why.contains("at once")),
        "{actions:?}"
    );
    assert_eq!(environment.step(&Event::Tick, SECOND * 9), [], "the old one goes on");
    assert_eq!((environment.phase(), environment.unstable()), (Phase::Online, 0));

    let actions = other.step(&Event::Ended { id: 1, cause: Cause::Crash }, SECOND);
    assert!(actions.contains(&Action::Reloaded { failed: None }), "{actions:?}");
    assert!(!actions.iter().any(|action| matches!(action, Action::Launch { .. })), "{actions:?}");
    assert_eq!((other.step(&Event::Tick, SECOND * 9), other.phase()), (vec![], Phase::Online));
}

#[test]
fn an_old_one_that_dies_meanwhile_is_not_started_again_beside_the_new_one() {
    let mut environment = up(1);
    environment.step(&Event::Reload, SECOND);
    let crash = Event::Ended { id: 1, cause: Cause::Crash };
    let actions = environment.step(&crash, SECOND);
    assert!(!actions.iter().any(|action| matches!(action, Action::Launch { .. })), "{actions:?}");
    assert_eq!(environment.step(&Event::Tick, SECOND * 50), []);
    assert_eq!(
        environment.step(&Event::Running { id: 2 }, SECOND * 50),
        [Action::Reloaded { failed: None }]
    );
    assert_eq!(environment.phase(), Phase::Online);
}

#[test]
fn other_orders_end_it() {
    for order in [Event::Stop, Event::Restart] {
        let mut environment = up(1);
        environment.step(&Event::Reload, SECOND);
        let actions = environment.step(&order, SECOND);
        assert!(matches!(actions[0], Action::Reloaded { failed: Some((2, _)) }), "{actions:?}");
        assert_eq!(actions[1..], [Action::Signal { id: 1 }, Action::Signal { id: 2 }]);
        assert!(!environment.is_reloading());
    }
    let mut environment = up(1);
    environment.step(&Event::Stop, SECOND);
    environment.step(&ended(1), SECOND);
    assert_eq!(environment.step(&Event::Reload, SECOND), [Action::Reloaded { failed: None }]);
}

#[test]
fn scaling_launches_what_is_missing_and_ends_the_newest() {
    let mut environment = up(1);
    let rules =
        |instances| Rules { restart: spec_for_tests("a").restart, grace: SECOND, instances };
    environment.set_rules(rules(3));
    assert_eq!(environment.phase(), Phase::Backoff, "two are missing");
    let actions = environment.step(&Event::Tick, SECOND);
    assert_eq!(actions, [Action::Launch { id: 2 }, Action::Launch { id: 3 }]);
    for id in [2, 3] {
        environment.step(&Event::Running { id }, SECOND);
    }
    assert_eq!((environment.phase(), environment.restarts()), (Phase::Online, 0));
    environment.set_rules(rules(1));
    let actions = environment.step(&Event::Tick, SECOND);
    assert_eq!(actions, [Action::Signal { id: 3 }, Action::Signal { id: 2 }]);
    assert_eq!(environment.phase(), Phase::Online);
    assert_eq!(
        environment.step(&ended(3), SECOND),
        [Action::Record { id: 3, cause: Cause::Stopped }]
    );
    assert_eq!(environment.step(&Event::Tick, SECOND * 2), [Action::Kill { id: 2 }]);
}
