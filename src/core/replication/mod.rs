//! Replication rules of one partition: ISR, high watermark, gate, caretaker, producer state.
