//! What a topic asks for while a broker is stopped on purpose: the values of its config `restart.policy`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The largest margin a topic may ask for.
pub const MARGIN_MAX: u32 = 8;

/// What a topic asks for while a broker is stopped on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Policy {
    /// So many members of the ISR more than acks=all needs stay.
    Margin(u32),
    /// With one replica only: the partition may be unavailable.
    AllowUnavailable,
    /// No broker with a replica is stopped.
    Forbid,
}

impl Default for Policy {
    fn default() -> Self {
        Self::Margin(0)
    }
}

impl Policy {
    /// What its text may be, for people.
    pub const ALLOWED: &str = "margin:N with N from 0 to 8, allow-unavailable or forbid";
}

impl FromStr for Policy {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.trim() {
            "allow-unavailable" => Ok(Self::AllowUnavailable),
            "forbid" => Ok(Self::Forbid),
            other => {
                let digits = other.strip_prefix("margin:").ok_or(())?;
                let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
                let margin = digits.parse().ok().filter(|margin| plain && *margin <= MARGIN_MAX);
                margin.map(Self::Margin).ok_or(())
            }
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Margin(margin) => write!(f, "margin:{margin}"),
            Self::AllowUnavailable => f.write_str("allow-unavailable"),
            Self::Forbid => f.write_str("forbid"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_texts_are_read_and_no_others() {
        for policy in [Policy::Margin(0), Policy::Margin(8), Policy::AllowUnavailable, Policy::Forbid] {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert!(Policy::ALLOWED.contains(&MARGIN_MAX.to_string()));
        for wrong in ["", "margin", "margin:", "margin:9", "margin:-1", "margin:+1", "Forbid", "allow"] {
            assert_eq!(wrong.parse::<Policy>(), Err(()), "{wrong}");
        }
    }
}
