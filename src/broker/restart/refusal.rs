//! How a permit is refused: a code for programs, a sentence for people, and what stands against it.

use chronik_core::ids::BrokerId;
use chronik_core::metadata::{Refusal, RefusalCode};
use chronik_core::restart::{Block, PermitId};
use chronik_core::view::{BLOCKS_LISTED, BlockReport, PermitProblem, PermitRefused};

use crate::replica::ProposeError;

/// Blocks that a sentence names, at most.
const NAMED: usize = 3;

pub(super) fn refused(code: &str, message: impl Into<String>) -> PermitRefused {
    let error = PermitProblem { code: code.to_owned(), message: message.into() };
    PermitRefused { error, blocks: Vec::new(), blocked: 0 }
}

/// Nothing was decided: to be tried again.
pub(super) fn unavailable(message: impl Into<String>) -> PermitRefused {
    refused("unavailable", message)
}

pub(super) fn unknown_permit(id: PermitId) -> PermitRefused {
    refused("unknown_permit", format!("permit {} is not open", id.0))
}

pub(super) fn unknown_broker(broker: BrokerId) -> PermitRefused {
    refused("unknown_broker", format!("broker {broker} is not registered"))
}

pub(super) fn blocked(broker: BrokerId, blocks: &[Block]) -> PermitRefused {
    let partitions = blocks.iter().filter(|block| block.partition.is_some()).count();
    let who = match (partitions, partitions < blocks.len()) {
        (0, _) => "the metadata group".to_owned(),
        (1, false) => "1 partition".to_owned(),
        (count, false) => format!("{count} partitions"),
        (count, true) => format!("{count} partitions and the metadata group"),
    };
    let message = format!("broker {broker} may not stop: {who} would pay: {}", sentence(blocks));
    PermitRefused { blocks: listed(blocks), blocked: blocks.len() as u32, ..refused("blocked", message) }
}

/// The first of them, for people.
pub(super) fn sentence(blocks: &[Block]) -> String {
    let named: Vec<String> = blocks.iter().take(NAMED).map(ToString::to_string).collect();
    let more = blocks.len() - named.len();
    let named = named.join("; ");
    if more == 0 { named } else { format!("{named}; and {more} more") }
}

pub(super) fn listed(blocks: &[Block]) -> Vec<BlockReport> {
    blocks.iter().take(BLOCKS_LISTED).map(BlockReport::from).collect()
}

pub(super) fn not_committed(error: ProposeError) -> PermitRefused {
    match error {
        ProposeError::Refused(Refusal { code: RefusalCode::PermitRefused, allowed, .. }) => {
            refused("permit_refused", allowed)
        }
        ProposeError::Refused(refusal) if refusal.code == RefusalCode::StaleIncarnation => {
            refused("permit_refused", refusal.to_string())
        }
        ProposeError::Refused(refusal) => refused(refusal.code.as_str(), refusal.to_string()),
        error => unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use chronik_core::restart::Why;

    use super::*;

    fn block(partition: Option<i32>) -> Block {
        let partition = partition.map(|number| ("orders".to_owned(), number));
        Block { partition, why: Why::Unconfirmed }
    }

    #[test]
    fn a_refusal_names_who_would_pay_and_lists_a_bounded_number_of_them() {
        let one = blocked(BrokerId(2), &[block(Some(0))]);
        assert_eq!(
            one.error.message,
            "broker 2 may not stop: 1 partition would pay: orders/0: its leader did not confirm its ISR"
        );
        let metadata = blocked(BrokerId(2), &[block(None)]).error.message;
        assert!(metadata.contains("the metadata group would pay: metadata group:"), "{metadata}");
        let many: Vec<Block> = (0..100).map(Some).map(block).chain([block(None)]).collect();
        let many = blocked(BrokerId(2), &many);
        assert_eq!((many.blocks.len(), many.blocked), (64, 101));
        assert!(many.error.message.contains("100 partitions and the metadata group"), "{:?}", many.error);
        assert!(many.error.message.ends_with("; and 98 more"), "{:?}", many.error);
    }
}
