//! Repeats work that may fail for a moment: a service is down, a transfer breaks off, another run
//! wins a race.
//!
//! An attempt says whether its failure may pass. A [`Policy`] limits the attempts and their time.

use std::time::Duration;

use tokio::time::Instant;

/// A failed attempt.
#[derive(Debug)]
pub struct Failure<E> {
    /// The error of the attempt.
    pub why: E,
    /// Whether the same attempt may succeed later.
    pub outlook: Outlook,
}

/// Whether a failed attempt may succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// The attempt may succeed later.
    MayPass,
    /// The attempt may succeed after this pause, which the other side demands.
    MayPassAfter(Duration),
    /// The attempt will fail again.
    Lasts,
}

impl<E> Failure<E> {
    /// Returns a failure that may pass.
    pub fn passing(why: E) -> Self {
        Self { why, outlook: Outlook::MayPass }
    }

    /// Returns a failure that may pass if `passes` is true, and that lasts otherwise.
    pub fn passing_if(passes: bool, why: E) -> Self {
        Self { why, outlook: if passes { Outlook::MayPass } else { Outlook::Lasts } }
    }
}

impl<E> Failure<E> {
    /// Waits for the pause that the other side demands, if the failure may pass.
    #[must_use]
    pub fn after(self, pause: Option<Duration>) -> Self {
        match (self.outlook, pause) {
            (Outlook::MayPass, Some(pause)) => {
                Self { outlook: Outlook::MayPassAfter(pause), ..self }
            }
            _ => self,
        }
    }
}

/// An error without an outlook lasts.
impl<E> From<E> for Failure<E> {
    fn from(why: E) -> Self {
        Self { why, outlook: Outlook::Lasts }
    }
}

/// The number of attempts, and the pauses between them.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The largest number of attempts, the first attempt included.
    pub attempts: u32,
    /// The longest first pause. Each pause is random, from half of its longest time to all of it,
    /// so that parallel failures do not return together.
    pub pause: Duration,
    /// Each pause is this many times as long as the previous pause.
    pub growth: f64,
    /// The longest pause, however often the attempt failed.
    pub longest: Duration,
    /// The time after which a failure is final. The check precedes the pause, so the next attempt
    /// may begin later. A pause that the other side demands has no such limit.
    pub patience: Duration,
}

impl Policy {
    /// A single attempt. Other policies name only what differs.
    pub const ONCE: Self = Self {
        attempts: 1,
        pause: Duration::ZERO,
        growth: 1.0,
        longest: Duration::MAX,
        patience: Duration::MAX,
    };

    /// Repeats an attempt until it succeeds, its failure lasts, or the policy ends.
    ///
    /// # Errors
    /// The error of the last attempt.
    pub async fn run<T, E, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, Failure<E>>>,
    {
        let started = Instant::now();
        let mut longest = self.pause;
        for _ in 1..self.attempts {
            let failure = match attempt().await {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            let pause = match failure.outlook {
                Outlook::MayPass if started.elapsed() < self.patience => {
                    longest.mul_f64(rand::random_range(0.5..=1.0))
                }
                Outlook::MayPassAfter(pause) => pause,
                Outlook::MayPass | Outlook::Lasts => return Err(failure.why),
            };
            tokio::time::sleep(pause).await;
            longest = longest.mul_f64(self.growth).min(self.longest);
        }
        attempt().await.map_err(|failure| failure.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        attempts: 4,
        pause: Duration::from_secs(2),
        growth: 3.0,
        patience: Duration::from_secs(10),
        ..Policy::ONCE
    };

    /// Returns the result, the number of attempts and the seconds that passed.
    async fn run(outcomes: &[Result<(), Failure<u32>>]) -> (Result<(), u32>, usize, f64) {
        let (started, mut tries) = (Instant::now(), 0);
        let result = POLICY
            .run(|| {
                tries += 1;
                let outcome = match &outcomes[(tries - 1).min(outcomes.len() - 1)] {
                    Ok(()) => Ok(()),
                    Err(failure) => Err(Failure { why: failure.why, outlook: failure.outlook }),
                };
                async move { outcome }
            })
            .await;
        (result, tries, started.elapsed().as_secs_f64())
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_tried_again_after_growing_pauses() {
        let (result, tries, seconds) =
            run(&[Err(Failure::passing(1)), Err(Failure::passing(2)), Ok(())]).await;
        assert_eq!((result, tries), (Ok(()), 3));
        assert!((4.0..=8.01).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_lasts_is_not_tried_again() {
        assert_eq!(run(&[Err(7.into())]).await, (Err(7), 1, 0.0));
        let failures = [Err(Failure::passing(1)), Err(Failure::passing_if(false, 2)), Ok(())];
        let (result, tries, _) = run(&failures).await;
        assert_eq!((result, tries), (Err(2), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_are_counted_and_patience_ends() {
        // The pauses are 1 to 2, 3 to 6 and 9 to 18 s.
        for _ in 0..50 {
            let (result, tries, seconds) = run(&[Err(Failure::passing(1))]).await;
            assert_eq!((result, tries), (Err(1), 4));
            assert!((13.0..=26.01).contains(&seconds), "{seconds}");
        }
        let even = Policy { longest: Duration::from_secs(2), patience: Duration::MAX, ..POLICY };
        let started = Instant::now();
        assert_eq!(even.run(|| async { Err::<(), _>(Failure::passing(())) }).await, Err(()));
        assert!((3.0..=6.01).contains(&started.elapsed().as_secs_f64()));
        let impatient = Policy { patience: Duration::from_secs(1), ..POLICY };
        let mut tries = 0;
        let attempt = || {
            tries += 1;
            async { Err::<(), _>(Failure::passing(())) }
        };
        assert_eq!((impatient.run(attempt).await, tries), (Err(()), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_was_asked_for_is_kept_in_spite_of_patience() {
        let asked =
            || Err(Failure { why: 1, outlook: Outlook::MayPassAfter(Duration::from_secs(60)) });
        let (result, tries, seconds) = run(&[asked(), asked(), Ok(())]).await;
        assert_eq!((result, tries), (Ok(()), 3));
        assert!((120.0..120.1).contains(&seconds), "{seconds}");
    }
}
