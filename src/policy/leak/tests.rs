//! The detector against series whose truth is known; the seed is printed.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::simulated::{App, Kind};
use super::*;

/// When somebody looks, in hours of data. A life that is younger is never said to leak.
const LOOKED_AT: [f64; 9] = [6.0, 8.0, 12.0, 18.0, 24.0, 36.0, 48.0, 60.0, 72.0];

/// The first hour at which it is said to leak.
fn found_after(app: &App, looks: &[Look]) -> Option<(f64, Judgement)> {
    let hours = looks.len() as f64 / 60.0;
    LOOKED_AT.iter().copied().filter(|at| *at < hours).chain([hours]).find_map(|at| {
        let judged = judge(&kept(&looks[..(at * 60.0) as usize]), app.ceiling);
        (judged.verdict == LeakVerdict::Leaking).then_some((at, judged))
    })
}

/// As a monitor has them.
fn kept(looks: &[Look]) -> Vec<Look> {
    let now = looks.last().map_or(0, |look| look.at);
    let mut kept = Vec::new();
    looks.iter().for_each(|look| add(&mut kept, *look, now));
    kept
}

fn seed() -> u64 {
    let seed = std::env::var("SWRUN_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| Rng::new().u64(..));
    println!("SWRUN_SEED={seed}");
    seed
}

#[test]
fn what_does_not_leak_is_not_said_to() {
    const SERIES: usize = 2000;
    let mut random = Rng::with_seed(seed());
    let mut wrong: BTreeMap<Kind, Vec<(App, f64, Judgement)>> = BTreeMap::new();
    let found = std::thread::scope(|scope| {
        let threads = [random.fork(), random.fork()].map(|mut random| {
            scope.spawn(move || -> Vec<_> {
                let made = (0..SERIES / 2).filter_map(|number| {
                    let kind = Kind::ALL[number % Kind::ALL.len()];
                    let app = kind.app(&mut random);
                    let looks = app.looks(72.0, 1_790_000_000, 1, &mut random);
                    let (at, judged) = found_after(&app, &looks)?;
                    Some((kind, app, at, judged))
                });
                made.collect()
            })
        });
        threads.map(|thread| thread.join().expect("no panic"))
    });
    for (kind, app, at, judged) in found.into_iter().flatten() {
        wrong.entry(kind).or_default().push((app, at, judged));
    }
    for (kind, of_it) in &wrong {
        println!("{kind:?}: {}", of_it.len());
        for (app, at, judged) in of_it.iter().take(3) {
            println!("  {at}: {judged:?} {app:?}");
        }
    }
    let count: usize = wrong.values().map(Vec::len).sum();
    println!("wrong: {count} of {SERIES}");
    assert!(count * 100 < SERIES, "{count}");
}

/// How many of 400 are found within so many hours.
fn share_found(an_hour: f64, within: f64, random: &mut Rng, kinds: &[Kind]) -> f64 {
    let mut found = 0;
    for number in 0..400 {
        let kind = kinds[number % kinds.len()];
        let mut app = kind.app(random).leaking(an_hour);
        if number % 2 == 0 {
            app = app.by_load();
        }
        let looks = app.looks(within + app.warm_after(), 1_790_000_000, 1, random);
        match found_after(&app, &looks) {
            Some(_) => found += 1,
            None if std::env::var_os("SWRUN_SHOW").is_some() => {
                println!("missed {kind:?} {:?} {app:?}", judge(&looks, app.ceiling));
            }
            None => {}
        }
    }
    println!("{an_hour} an hour, within {within} h, {kinds:?}: {found} of 400");
    f64::from(found) / 400.0
}

#[test]
fn leaks_are_found_in_time() {
    let mut random = Rng::with_seed(seed());
    let steady = [Kind::Flat, Kind::Noisy, Kind::SawTooth, Kind::WarmUp];
    let waves = [Kind::Wave, Kind::WaveAndSawTooth];
    assert!(share_found(0.01, 6.0, &mut random, &steady) >= 0.95);
    assert!(share_found(0.01, 48.0, &mut random, &waves) >= 0.95);
    assert!(share_found(0.002, 72.0, &mut random, &steady) >= 0.95);
}
