//! Shows the progress of long work: a bar on a terminal, a line every 30 seconds elsewhere.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The time between two lines in a log.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// Counts the bytes of the current phase and shows them.
#[derive(Debug)]
pub struct Progress {
    mode: Mode,
    state: Mutex<Option<Phase>>,
    done: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    Hidden,
    Bar,
    Log(fn(&str)),
}

#[derive(Debug)]
struct Phase {
    name: &'static str,
    total: u64,
    started: Instant,
    next_log: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Returns a display that shows nothing.
    pub fn hidden() -> Self {
        Self::new(Mode::Hidden)
    }

    /// Returns a display that draws a bar on standard error.
    pub fn bar() -> Self {
        Self::new(Mode::Bar)
    }

    /// Returns a display that gives `log` a line every 30 seconds.
    pub fn log(log: fn(&str)) -> Self {
        Self::new(Mode::Log(log))
    }

    fn new(mode: Mode) -> Self {
        Self { mode, state: Mutex::new(None), done: AtomicU64::new(0) }
    }

    /// Starts a phase of `total` bytes.
    pub fn begin(&self, name: &'static str, total: u64) {
        self.done.store(0, Ordering::Relaxed);
        if matches!(self.mode, Mode::Hidden) {
            return;
        }
        let bar = matches!(self.mode, Mode::Bar).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let template = "{msg:<18} {bar:30} {bytes:>10} of {total_bytes:<10} {bytes_per_sec}, \
                            {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_message(name);
            bar
        });
        let now = Instant::now();
        if let Ok(mut state) = self.state.lock() {
            *state = Some(Phase { name, total, started: now, next_log: now + LOG_EVERY, bar });
        }
    }

    /// Adds finished bytes. The call is cheap enough for every piece of a transfer.
    pub fn advance(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if matches!(self.mode, Mode::Hidden) {
            return;
        }
        // Another thread has the lock, and draws.
        let Ok(mut state) = self.state.try_lock() else { return };
        let Some(phase) = state.as_mut() else { return };
        if let Some(bar) = &phase.bar {
            bar.set_position(done);
        }
        if let Mode::Log(log) = self.mode
            && Instant::now() >= phase.next_log
        {
            phase.next_log = Instant::now() + LOG_EVERY;
            log(&format!("{}: {}", phase.name, line(done, phase.total, phase.started.elapsed())));
        }
    }

    /// Ends the phase and clears the bar.
    pub fn end(&self) {
        if let Ok(mut state) = self.state.lock()
            && let Some(phase) = state.take()
            && let Some(bar) = phase.bar
        {
            bar.finish_and_clear();
        }
    }
}

/// Returns the finished bytes, the mean rate, and the time that the rest takes at this rate.
fn line(done: u64, total: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(0.001);
    let rate = done as f64 / seconds;
    let rest = total.saturating_sub(done) as f64;
    let text =
        format!("{} of {}, {}/s", HumanBytes(done), HumanBytes(total), HumanBytes(rate as u64));
    match Duration::try_from_secs_f64(rest / rate) {
        Ok(left) => format!("{text}, {:#} left", HumanDuration(left)),
        // Nothing is finished yet, so there is no rate.
        Err(_) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_rate_and_the_remaining_time() {
        let minute = Duration::from_secs(60);
        assert_eq!(line(3 << 30, 9 << 30, minute), "3.00 GiB of 9.00 GiB, 51.20 MiB/s, 2m left");
        assert_eq!(line(9, 9, minute), "9 B of 9 B, 0 B/s, 0s left");
        assert_eq!(line(0, 9, minute), "0 B of 9 B, 0 B/s");
    }
}
