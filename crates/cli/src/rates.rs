//! CPU rates on the command line: `20ms/100ms`, or `20%`.

use crate::settings::{self, Setting};
use crate::times::{self, Wrong};
use std::time::Duration;
use wasmtime::{Result, bail};

/// The period of a rate in percent, which is that of a Linux cgroup.
const PERIOD: Duration = Duration::from_millis(100);

const LEAST_QUOTA: Duration = Duration::from_micros(100);

const PERIODS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(3600);

/// Time on the CPU per period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    pub quota: Duration,
    pub period: Duration,
}

/// `[GUEST=]RATE`, for what uses one CPU at a time.
///
/// # Errors
///
/// If it is no rate, or one that limits nothing.
pub fn of_guest(text: &str) -> Result<Setting<Rate>> {
    settings::parse(text, |value| {
        let rate = parse(value)?;
        if rate.quota > rate.period {
            bail!(
                "all guests together use one CPU, so this limits nothing; give 100% at most, or \
                 a time that is at most the period, such as 20ms/100ms"
            );
        }
        Ok(rate)
    })
}

/// # Errors
///
/// If it is no rate, or one that cannot be kept.
pub fn parse(text: &str) -> Result<Rate> {
    let rate = match (text.strip_suffix('%'), text.split_once('/')) {
        (Some(percent), None) => match percent.trim().parse::<f64>() {
            Ok(percent) if (0.0..=1e6).contains(&percent) => Rate {
                quota: PERIOD.mul_f64(percent / 100.0),
                period: PERIOD,
            },
            _ => bail!("give a percentage of a CPU such as 20%"),
        },
        (_, Some((quota, period))) => Rate {
            quota: time(quota)?,
            period: time(period)?,
        },
        _ => bail!("give a time per period such as 20ms/100ms, or a percentage such as 20%"),
    };
    if !PERIODS.contains(&rate.period) {
        bail!("a period is from 1ms to 1h; give a rate such as 20ms/100ms");
    }
    if rate.quota < LEAST_QUOTA {
        bail!("the time is at least 100us, or switching would use it up; make the period longer");
    }
    Ok(rate)
}

fn time(text: &str) -> Result<Duration> {
    match times::parse(text.trim()) {
        Ok(time) => Ok(time),
        Err(Wrong::Zero) => Ok(Duration::ZERO),
        Err(Wrong::NoTime(why)) => bail!("{why}; give a time per period such as 20ms/100ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_a_time_per_period_or_a_percentage() {
        let ms = Duration::from_millis;
        let rate = |text| {
            let rate = parse(text).unwrap();
            (rate.quota, rate.period)
        };
        assert_eq!(rate("20ms/100ms"), (ms(20), ms(100)));
        assert_eq!(rate("1s / 2s"), (ms(1000), ms(2000)));
        assert_eq!(rate("20%"), (ms(20), ms(100)));
        assert_eq!(rate("250%"), (ms(250), ms(100)));
        assert_eq!(rate("0.5%"), (Duration::from_micros(500), ms(100)));
        let of_guest = of_guest("a=b=20%").unwrap();
        assert_eq!(of_guest.guest.as_deref(), Some("a=b"));
    }

    #[test]
    fn bad_rates_are_errors_that_say_what_works() {
        for (text, says) in [
            ("", "such as 20ms/100ms"),
            ("20ms", "or a percentage such as 20%"),
            ("20ms/", "such as 20ms/100ms"),
            ("x/100ms", "such as 20ms/100ms"),
            ("-5%", "such as 20%"),
            ("nan%", "such as 20%"),
            ("0%", "at least 100us"),
            ("0ms/100ms", "at least 100us"),
            ("1ms/0ms", "from 1ms to 1h"),
            ("1ms/2h", "from 1ms to 1h"),
            ("-1ms/1s", "never negative"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        let error = of_guest("200%").unwrap_err().to_string();
        assert!(error.contains("100% at most"), "{error}");
    }
}
