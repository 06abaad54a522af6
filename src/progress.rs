//! Shows the progress of long work: a bar on a terminal, a line every ten seconds elsewhere.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The time between two lines in a log.
const LOG_EVERY: Duration = Duration::from_secs(10);

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

    /// Returns a display that gives `log` a line every ten seconds.
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
            let template = "{msg:<18} {bar:30} {bytes:>10} of {total_bytes:<10} {bytes_per_sec}";
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
            let rate = (done as f64 / phase.started.elapsed().as_secs_f64().max(0.001)) as u64;
            log(&format!(
                "{}: {} of {}, {}/s",
                phase.name,
                HumanBytes(done),
                HumanBytes(phase.total),
                HumanBytes(rate)
            ));
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
