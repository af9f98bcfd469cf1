//! The head of a request: which API, which version, from whom.

use bytes::{Buf, Bytes};
use kafka_protocol::messages::ApiKey;

use super::WireError;
use super::scan::Walk;

/// The head of a request, of any API, known or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestHead {
    pub(crate) api_key: i16,
    pub(crate) api_version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: Option<String>,
}

impl RequestHead {
    /// Takes the head off `frame`; what is left is the body.
    pub(crate) fn split_from(frame: &mut Bytes) -> Result<Self, WireError> {
        let mut walk = Walk::new(frame);
        let api_key = walk.i16("API key")?;
        let api_version = walk.i16("API version")?;
        let correlation_id = walk.i32("correlation id")?;
        let client_id = match walk.i16("client id")? {
            -1 => None,
            n @ 0.. => Some(String::from_utf8_lossy(walk.take(n as usize, "client id")?).into_owned()),
            n => {
                let (what, allowed) = ("client id length", "-1 for null, or 0 and up");
                return Err(WireError::Length { what, value: i64::from(n), allowed });
            }
        };
        if has_tags(api_key, api_version) {
            walk.skip_tags()?;
        }
        let body = frame.len() - walk.remaining();
        frame.advance(body);
        Ok(Self { api_key, api_version, correlation_id, client_id })
    }
}

/// Whether the head of this API's version ends with tagged fields.
fn has_tags(api_key: i16, version: i16) -> bool {
    ApiKey::try_from(api_key).is_ok_and(|key| key.request_header_version(version) >= 2)
}
