//! Decides how many requests run at a time, by the rates of the requests before. No clock, no I/O.

use std::time::Duration;

/// The number of requests at a time: at first, at first on a long line, and at most.
#[derive(Clone, Copy, Debug)]
pub struct Width {
    start: usize,
    far: usize,
    most: usize,
}

impl Width {
    /// For requests that move blobs. One connection to S3 carries some 90 MB/s.
    pub const BLOBS: Self = Self { start: 12, far: 32, most: 64 };
    /// For requests that only ask about objects: a usual model in a single wave.
    pub const LOOKS: Self = Self { start: 128, far: 128, most: 256 };

    /// Returns the number of requests that begin at once on a long line.
    pub const fn far(self) -> usize {
        self.far
    }
}

/// An answer takes at least this long on a long line. There, many requests wait at a time.
const FAR: Duration = Duration::from_millis(10);
/// The factor by which twice as many requests must raise the rate. Otherwise the number goes back.
const PAYS: f64 = 1.15;
/// The factor from which on a still larger number is tried at once.
const SCALES: f64 = 1.4;
/// The part of all processors from which on the process waits for them, and not for the line.
const BUSY: f64 = 0.75;
/// The waves between a try that did not pay and the next try. After each such try, they double.
const REST: u32 = 8;
const LONGEST_REST: u32 = 64;

/// The state of the decision.
///
/// A wave is as many requests as run at a time. The number doubles while that makes the transfer
/// faster, and otherwise goes back. Later, a try now and then finds out whether the line has become
/// wider.
#[derive(Debug)]
pub struct Pace {
    limit: usize,
    most: usize,
    /// The rate of the waves with the number that counts, and that number.
    paid: Option<(f64, usize)>,
    /// The waves until the next try; `None` during a try.
    rest: Option<u32>,
    next_rest: u32,
}

impl Pace {
    /// Begins a transfer. The latency is the time in which the store answers, if that is known.
    pub fn new(width: Width, latency: Option<Duration>) -> Self {
        let Width { start, far, most } = width;
        let limit = if latency.is_some_and(|it| it >= FAR) { far } else { start };
        Self { limit, most, paid: None, rest: None, next_rest: REST }
    }

    /// Returns the number of requests that may run at a time.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Takes the rate of a finished wave, in any unit, and the part of all processors that this
    /// process used meanwhile.
    pub fn finish_wave(&mut self, rate: f64, busy: f64) {
        match (self.rest, self.paid) {
            (Some(0), _) => {
                self.paid = Some((rate, self.limit));
                self.widen(busy);
            }
            (Some(waves), _) => self.rest = Some(waves - 1),
            (None, Some((paid, _))) if rate >= paid * SCALES => {
                self.paid = Some((rate, self.limit));
                self.widen(busy);
            }
            (None, Some((paid, _))) if rate >= paid * PAYS => self.settle(),
            (None, Some((_, limit))) => {
                self.limit = limit;
                self.settle();
                self.next_rest = (self.next_rest * 2).min(LONGEST_REST);
            }
            (None, None) => {
                self.paid = Some((rate, self.limit));
                self.widen(busy);
            }
        }
    }

    /// Halves the number, because the store asked for fewer requests.
    pub fn strain(&mut self) {
        self.limit = (self.limit / 2).max(1);
        self.next_rest = (self.next_rest * 2).min(LONGEST_REST);
        self.settle();
    }

    fn widen(&mut self, busy: f64) {
        if self.limit == self.most || busy >= BUSY {
            return self.settle();
        }
        self.limit = (self.limit * 2).min(self.most);
        self.rest = None;
    }

    fn settle(&mut self) {
        self.rest = Some(self.next_rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: f64 = 1e6;

    /// A line with a latency, a rate for each connection and a rate for all of them. A server may
    /// also lose some of its speed with each connection.
    struct Line {
        latency: f64,
        connection: f64,
        total: f64,
        loss: f64,
    }

    /// S3 near its region, as docs/benchmarks.md emulates it.
    const S3: Line = Line { latency: 0.03, connection: 90.0 * MB, total: 6e9, loss: 0.0 };

    impl Line {
        /// Returns the rate of a wave of requests for 8 MiB each.
        fn rate(&self, requests: usize) -> f64 {
            let (size, count) = (8.0 * 1_048_576.0, requests as f64);
            let alone = count * size / (self.latency + size / self.connection);
            alone.min(self.total) * (1.0 - self.loss * count).max(0.1)
        }

        /// Returns the limits of so many waves.
        fn run(&self, pace: &mut Pace, waves: usize) -> Vec<usize> {
            let wave = |_| {
                let limit = pace.limit();
                pace.finish_wave(self.rate(limit), 0.2);
                limit
            };
            (0..waves).map(wave).collect()
        }
    }

    #[test]
    fn a_line_of_many_connections_is_filled_in_a_few_waves() {
        assert_eq!(S3.run(&mut Pace::new(Width::BLOBS, None), 5), [12, 24, 48, 64, 64]);
    }

    #[test]
    fn a_long_line_gets_many_connections_at_once() {
        let latency = Some(Duration::from_millis(30));
        assert_eq!(S3.run(&mut Pace::new(Width::BLOBS, latency), 3), [32, 64, 64]);
        assert_eq!(Pace::new(Width::BLOBS, Some(Duration::from_millis(9))).limit(), 12);
    }

    #[test]
    fn a_line_that_all_share_gets_no_more_connections() {
        let thin = Line { latency: 0.15, connection: 1e12, total: 50.0 * MB, loss: 0.0 };
        let limits = thin.run(&mut Pace::new(Width::BLOBS, None), 200);
        assert_eq!(limits[..4], [12, 24, 12, 12]);
        let wide = limits.iter().filter(|limit| **limit > 12).count();
        assert!(wide <= 6, "{wide} of 200 waves are tries: {limits:?}");
    }

    #[test]
    fn a_small_server_gets_no_more_connections_than_it_can_use() {
        let small = Line { latency: 0.0, connection: 60.0 * MB, total: 800.0 * MB, loss: 0.005 };
        let limits = small.run(&mut Pace::new(Width::BLOBS, None), 100);
        let wide = limits.iter().filter(|limit| **limit > 12).count();
        assert!(wide <= 5, "{limits:?}");
    }

    #[test]
    fn a_line_that_becomes_wider_is_found() {
        let mut pace = Pace::new(Width::BLOBS, None);
        Line { total: 100.0 * MB, ..S3 }.run(&mut pace, 20);
        assert_eq!(pace.limit(), 12);
        S3.run(&mut pace, 2 * LONGEST_REST as usize);
        assert_eq!(pace.limit(), 64);
    }

    #[test]
    fn a_small_gain_is_kept_but_not_followed() {
        let line = Line { total: 1_050.0 * MB, ..S3 };
        assert_eq!(line.run(&mut Pace::new(Width::BLOBS, None), 4), [12, 24, 24, 24]);
    }

    #[test]
    fn strain_halves_down_to_one_and_the_line_recovers() {
        let mut pace = Pace::new(Width::BLOBS, None);
        S3.run(&mut pace, 4);
        let limits: Vec<usize> = (0..8)
            .map(|_| {
                pace.strain();
                pace.limit()
            })
            .collect();
        assert_eq!(limits, [32, 16, 8, 4, 2, 1, 1, 1]);
        S3.run(&mut pace, LONGEST_REST as usize + 8);
        assert_eq!(pace.limit(), 64);
    }

    #[test]
    fn a_busy_process_gets_no_more_connections() {
        let mut pace = Pace::new(Width::BLOBS, None);
        for wave in 0..100_u32 {
            pace.finish_wave(f64::from(wave), BUSY);
            assert_eq!(pace.limit(), 12, "{wave}");
        }
        S3.run(&mut pace, REST as usize + 8);
        assert_eq!(pace.limit(), 64, "it grows once they are idle");
    }

    #[test]
    fn a_wave_of_looks_takes_a_usual_model() {
        assert!(Pace::new(Width::LOOKS, None).limit() >= 128);
    }
}
