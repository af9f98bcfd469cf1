//! Reads back all that a topic holds, and compares with what was acknowledged.

use chronik_e2e::kafka;
use chronik_e2e::load::Book;

/// Every acknowledged record of topic `t` lies where it was acknowledged; how many were read.
pub fn nothing_is_lost(bootstrap: &str, partitions: usize, book: &Book) -> usize {
    assert_eq!(book.clashes, Vec::new(), "two acknowledgements for one offset");
    let mut read = 0;
    for partition in 0..partitions as i32 {
        let (records, end) = kafka::read(bootstrap, "t", partition);
        assert_eq!(records.len() as i64, end, "partition {partition}: records up to the high watermark");
        read += records.len();
        for ((_, offset), number) in book.acked.range((partition, 0)..(partition + 1, 0)) {
            let found = records.get(*offset as usize).map(|record| record.payload.clone());
            assert_eq!(found, Some(format!("record {number}")), "acknowledged at {partition}/{offset}");
        }
    }
    read
}
