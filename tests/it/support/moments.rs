//! Random moments at which a test kills a process.

use std::ops::Range;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Child;
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::process::Signal;

/// Chooses moments for kills within the time that the work takes.
pub struct Moments {
    random: StdRng,
    longest: Duration,
    part: Range<f64>,
    left: usize,
}

impl Moments {
    /// Chooses moments in a part of the time, such as `0.5..1.0`, until so many kills hit.
    ///
    /// Prints the seed, so that a failure can be repeated.
    pub fn within(longest: Duration, part: Range<f64>, kills: usize) -> Self {
        let seed = rand::random();
        println!("seed {seed}, {longest:?}");
        Self { random: StdRng::seed_from_u64(seed), longest, part, left: kills }
    }

    /// Returns whether more processes are to be killed during their work.
    pub fn are_left(&self) -> bool {
        self.left > 0
    }

    /// Kills a process at a random moment with SIGKILL, as the kernel does when memory runs out.
    ///
    /// Returns the moment. If the process had ended before, the work got faster, so later moments
    /// come earlier.
    pub fn kill_next(&mut self, mut child: Child) -> Duration {
        let moment = self.longest.mul_f64(self.random.random_range(self.part.clone()));
        thread::sleep(moment);
        child.kill().unwrap();
        let status = child.wait().unwrap();
        if status.signal() == Some(Signal::KILL.as_raw()) {
            self.left -= 1;
        } else {
            assert!(status.success(), "{status}");
            self.longest = moment;
        }
        moment
    }
}
