//! Series as apps make them, with and without a leak: what the detector is held against. It knows nothing of the
//! detector.

use fastrand::Rng;

use super::Look;

/// A minute, in seconds.
const MINUTE: u64 = 60;

/// What moves an app's memory, in shares of its ceiling unless it says otherwise.
#[derive(Debug, Clone)]
pub struct App {
    pub ceiling: u64,
    /// What it takes at once.
    base: f64,
    /// What it takes while it gets warm, and the hours of that (to 63 %).
    warm_up: (f64, f64),
    /// The deviation of noise from minute to minute.
    noise: f64,
    /// The deviation of what wanders, and the hours in which it forgets.
    wander: (f64, f64),
    /// What a garbage collector gives back, and the hours between two collections.
    garbage: (f64, f64),
    /// The height of a daily wave of memory, its share of the load, when it is highest, and how many hours memory
    /// comes after the load.
    wave: Option<(f64, f64, f64, f64)>,
    /// Hours and heights of steps up or down.
    steps: Vec<(f64, f64)>,
    /// Growth an hour.
    leak: f64,
    /// Whether it leaks with each request: with the load.
    leaks_by_load: bool,
    /// The load, in percent of a CPU, and its relative noise.
    load: (f64, f64),
}

/// The kinds of apps that do not leak, and a few of each that do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Flat,
    Noisy,
    Wandering,
    SawTooth,
    WarmUp,
    Wave,
    WaveAndSawTooth,
    Steps,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::Flat,
        Self::Noisy,
        Self::Wandering,
        Self::SawTooth,
        Self::WarmUp,
        Self::Wave,
        Self::WaveAndSawTooth,
        Self::Steps,
    ];

    /// An app of this kind.
    pub fn app(self, random: &mut Rng) -> App {
        let mut between = |from: f64, to: f64| from + random.f64() * (to - from);
        let mut app = App {
            ceiling: [128 << 20, 256 << 20, 512 << 20, 2 << 30][(between(0.0, 4.0)) as usize],
            base: between(0.15, 0.5),
            warm_up: (between(0.0, 0.05), between(0.02, 0.2)),
            noise: between(0.0, 0.003),
            wander: (0.0, 1.0),
            garbage: (between(0.0, 0.03), between(0.005, 0.1)),
            wave: None,
            steps: Vec::new(),
            leak: 0.0,
            leaks_by_load: false,
            load: (between(0.1, 60.0), between(0.02, 0.3)),
        };
        let wave = |between: &mut dyn FnMut(f64, f64) -> f64| {
            Some((between(0.03, 0.2), between(0.3, 0.95), between(0.0, 24.0), between(0.0, 1.0)))
        };
        match self {
            Self::Flat => {}
            Self::Noisy => app.noise = between(0.003, 0.015),
            Self::Wandering => app.wander = (between(0.003, 0.02), between(0.1, 1.0)),
            Self::SawTooth => app.garbage = (between(0.03, 0.3), between(0.1, 1.0)),
            Self::WarmUp => app.warm_up = (between(0.05, 0.4), between(0.1, 1.5)),
            Self::Wave => app.wave = wave(&mut between),
            Self::WaveAndSawTooth => {
                app.wave = wave(&mut between);
                app.garbage = (between(0.03, 0.2), between(0.1, 1.0));
            }
            Self::Steps => {
                for _ in 0..(between(1.0, 5.0) as usize) {
                    app.steps.push((between(0.5, 72.0), between(-0.05, 0.15)));
                }
            }
        }
        app
    }
}

impl App {
    /// The same with a leak of so much of the ceiling an hour.
    pub fn leaking(mut self, an_hour: f64) -> Self {
        (self.leak, self.base) = (an_hour, self.base.min(0.3));
        self
    }

    /// The hours until it is warm.
    pub fn warm_after(&self) -> f64 {
        4.0 * self.warm_up.1
    }

    /// The same, of each request instead of each hour.
    pub fn by_load(mut self) -> Self {
        self.leaks_by_load = true;
        self
    }

    /// What is seen of it in so many hours, a look a minute, from `begin` (seconds) on.
    pub fn looks(&self, hours: f64, begin: u64, life: u32, random: &mut Rng) -> Vec<Look> {
        let minutes = (hours * 60.0) as u64;
        let (mut wander, mut leaked) = (0.0, 0.0);
        let forgets = (-1.0 / (60.0 * self.wander.1)).exp();
        let phase = random.f64();
        let mut looks = Vec::new();
        for minute in 0..minutes {
            let now = minute as f64 / 60.0;
            let of_day = |shift: f64| match self.wave {
                None => 0.0,
                Some((_, _, top, _)) => (std::f64::consts::TAU * (now - top - shift) / 24.0).cos(),
            };
            wander = forgets * wander
                + (1.0 - forgets * forgets).sqrt() * self.wander.0 * normal(random);
            let (height, load_share, _, lag) = self.wave.unwrap_or((0.0, 0.0, 0.0, 0.0));
            let busy = 1.0 + load_share * of_day(0.0);
            leaked += self.leak / 60.0 * if self.leaks_by_load { busy } else { 1.0 };
            let load = self.load.0 * busy * (1.0 + self.load.1 * normal(random)).max(0.0);
            // The least of a minute: of a collector that comes more often, the level after it.
            let garbage = (now / self.garbage.1 + phase).fract();
            let garbage = if self.garbage.1 < 1.0 / 60.0 { 0.0 } else { garbage * self.garbage.0 };
            let steps: f64 =
                self.steps.iter().filter(|(at, _)| *at <= now).map(|(_, height)| height).sum();
            let share = self.base
                + self.warm_up.0 * (1.0 - (-now / self.warm_up.1).exp())
                + self.noise * normal(random)
                + wander
                + garbage
                + height / 2.0 * of_day(lag)
                + steps
                + leaked;
            let share = share.clamp(0.02, 1.0);
            looks.push(Look {
                at: begin + minute * MINUTE,
                life,
                trough: (share * self.ceiling as f64) as u64 & !0xfff,
                load: Some((load * 10.0).round() / 10.0),
                minutes: 1,
            });
        }
        looks
    }
}

/// Normal, of deviation 1 (Box and Muller).
fn normal(random: &mut Rng) -> f64 {
    let (a, b) = (1.0 - random.f64(), random.f64());
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}
