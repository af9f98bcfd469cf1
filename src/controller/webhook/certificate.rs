//! Certificates of the webhook: an authority signs one and its key is forgotten. No I/O; the time is an argument.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

/// How long a certificate and its authority are good.
pub const LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// Clocks may differ by so much.
const BEFORE: Duration = Duration::from_secs(3600);

/// One authority and the only certificate that it signed; all in PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// The authority's certificate.
    pub authority: String,
    /// What is shown to the API server.
    pub certificate: String,
    /// Its private key, in PKCS#8.
    pub key: String,
    /// When it was made.
    pub made: Timestamp,
}

impl Certificate {
    /// Makes one for that host name.
    ///
    /// # Errors
    /// When the host name is none, or no random key can be made.
    pub fn make(host: &str, now: Timestamp) -> Result<Self, rcgen::Error> {
        let mut authority = dated(CertificateParams::default(), now);
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.distinguished_name.push(DnType::CommonName, format!("Chronik webhook, {now}"));
        let authority_key = KeyPair::generate()?;
        let authority_certificate = authority.self_signed(&authority_key)?;

        let mut own = dated(CertificateParams::new([host.to_owned()])?, now);
        // A common name is limited to 64 characters; the host is in the alternative names.
        own.distinguished_name.push(DnType::CommonName, "chronik-operator");
        own.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        own.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = own.signed_by(&key, &Issuer::new(authority, authority_key))?;
        Ok(Self {
            authority: authority_certificate.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            made: now,
        })
    }

    /// When it ends.
    pub fn expires(&self) -> Timestamp {
        self.made + LIFE
    }

    /// Whether less than a third of its life is left.
    pub fn is_due(&self, now: Timestamp) -> bool {
        now.as_second() - self.made.as_second() > (LIFE.as_secs() * 2 / 3) as i64
    }
}

fn dated(mut params: CertificateParams, now: Timestamp) -> CertificateParams {
    let since_1970 = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0));
    let now = rcgen::date_time_ymd(1970, 1, 1) + since_1970;
    params.not_before = now - BEFORE;
    params.not_after = now + LIFE;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
}
