//! What the webhook's Secret holds, and what is to be done about it. Pure: no client; the time is an argument.
//!
//! A certificate is replaced without a gap: the next one is made and its authority told to the API server first; only a
//! look later is it served. The authority before stays trusted until every replica has taken the new one up.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::jiff::Timestamp;

use super::certificate::Certificate;

/// Data of the Secret.
pub type Data = BTreeMap<String, ByteString>;

/// Prefix of what is not served yet.
const NEXT: &str = "next-";
const PREVIOUS_AUTHORITY: &str = "previous-ca.crt";

/// All of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Kept {
    /// What is served.
    pub served: Option<Certificate>,
    /// What will be, once its authority is trusted.
    pub next: Option<Certificate>,
    /// The authority of what was served before, in PEM.
    pub previous_authority: Option<String>,
}

/// What to do now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing is served: make what is.
    MakeFirst,
    /// Make what will be served.
    MakeNext,
    /// Tell the API server which authorities to trust.
    Publish,
    /// Serve the next one.
    TakeNext,
    /// All is well.
    Nothing,
}

impl Kept {
    /// From the Secret. What is not complete counts as not there.
    pub fn read(data: &Data) -> Self {
        Self {
            served: certificate(data, ""),
            next: certificate(data, NEXT),
            previous_authority: text(data, PREVIOUS_AUTHORITY),
        }
    }

    /// As the Secret holds it.
    pub fn data(&self) -> Data {
        let mut data = Data::new();
        for (prefix, certificate) in [("", &self.served), (NEXT, &self.next)] {
            let Some(Certificate { authority, certificate, key, made }) = certificate else { continue };
            let made = made.to_string();
            for (name, value) in
                [("ca.crt", authority), ("tls.crt", certificate), ("tls.key", key), ("made", &made)]
            {
                data.insert(format!("{prefix}{name}"), ByteString(value.clone().into_bytes()));
            }
        }
        if let Some(authority) = &self.previous_authority {
            data.insert(PREVIOUS_AUTHORITY.to_owned(), ByteString(authority.clone().into_bytes()));
        }
        data
    }

    /// The authorities to trust, in PEM.
    pub fn authorities(&self) -> String {
        let of =
            |certificate: &Option<Certificate>| certificate.as_ref().map(|known| known.authority.clone());
        [of(&self.next), of(&self.served), self.previous_authority.clone()].into_iter().flatten().collect()
    }

    /// What to do, given the authorities that the API server trusts.
    pub fn step(&self, trusted: &str, now: Timestamp) -> Step {
        match (&self.served, &self.next) {
            (None, _) => Step::MakeFirst,
            (Some(served), None) if served.is_due(now) => Step::MakeNext,
            _ if trusted != self.authorities() => Step::Publish,
            (Some(_), Some(_)) => Step::TakeNext,
            (Some(_), None) => Step::Nothing,
        }
    }

    /// Nothing that was there counts.
    pub fn first(made: Certificate) -> Self {
        Self { served: Some(made), ..Self::default() }
    }

    /// With this one to be served next.
    pub fn with_next(self, made: Certificate) -> Self {
        Self { next: Some(made), previous_authority: None, ..self }
    }

    /// With the next one served.
    pub fn with_next_taken(self) -> Self {
        let previous_authority = self.served.map(|served| served.authority);
        Self { served: self.next, next: None, previous_authority }
    }
}

fn certificate(data: &Data, prefix: &str) -> Option<Certificate> {
    let field = |name: &str| text(data, &format!("{prefix}{name}"));
    Some(Certificate {
        authority: field("ca.crt")?,
        certificate: field("tls.crt")?,
        key: field("tls.key")?,
        made: field("made")?.parse().ok()?,
    })
}

fn text(data: &Data, name: &str) -> Option<String> {
    String::from_utf8(data.get(name)?.0.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::certificate::LIFE;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds as i64).unwrap()
    }

    fn made(name: &str, seconds: u64) -> Certificate {
        Certificate {
            authority: format!("authority of {name}\n"),
            certificate: name.to_owned(),
            key: format!("key of {name}"),
            made: at(seconds),
        }
    }

    #[test]
    fn the_secret_holds_all_of_it_and_half_a_certificate_is_none() {
        let kept =
            Kept::first(made("a", 0)).with_next(made("b", 5)).with_next_taken().with_next(made("c", 9));
        for kept in [Kept::default(), kept.clone(), kept.clone().with_next_taken()] {
            assert_eq!(Kept::read(&kept.data()), kept);
        }
        let mut data = kept.data();
        data.remove("tls.key");
        assert_eq!(Kept::read(&data).step("", at(0)), Step::MakeFirst);
    }

    #[test]
    fn a_first_one_is_made_and_told_and_then_there_is_peace() {
        assert_eq!(Kept::default().step("", at(0)), Step::MakeFirst);
        let kept = Kept::first(made("a", 0));
        assert_eq!(kept.step("", at(0)), Step::Publish);
        assert_eq!(kept.step("authority of a\n", at(LIFE.as_secs() * 2 / 3)), Step::Nothing);
    }

    #[test]
    fn whatever_is_served_is_trusted_while_it_is_replaced() {
        let due = at(LIFE.as_secs() * 2 / 3 + 1);
        let mut kept = Kept::first(made("a", 0));
        let mut trusted = kept.authorities();
        let mut steps = Vec::new();
        loop {
            let before = kept.served.clone().unwrap();
            let step = kept.step(&trusted, due);
            steps.push(step);
            kept = match step {
                Step::MakeNext => kept.with_next(made("b", LIFE.as_secs())),
                Step::TakeNext => kept.with_next_taken(),
                Step::Publish => {
                    trusted = kept.authorities();
                    kept
                }
                Step::MakeFirst | Step::Nothing => break,
            };
            // A replica that has not looked yet serves what was served before.
            for served in [&before, kept.served.as_ref().unwrap()] {
                assert!(
                    trusted.contains(&served.authority),
                    "{} after {steps:?}: {trusted}",
                    served.certificate
                );
            }
        }
        // To take the next one changes nothing about what is trusted: the newest comes first before and after.
        assert_eq!(steps, [Step::MakeNext, Step::Publish, Step::TakeNext, Step::Nothing]);
        assert_eq!(kept.served.unwrap().certificate, "b");
    }
}
