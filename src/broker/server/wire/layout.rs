//! The shapes of the requests served, as far as lengths and counts go. Data only; `scan` walks them.

/// What a field holds.
pub(crate) enum Kind {
    /// So many bytes.
    Fixed(usize),
    /// A string, null allowed.
    Text,
    /// Bytes, null allowed.
    Data,
    /// An array of structures, null allowed.
    Array(&'static Struct),
    /// An array of plain values, null allowed.
    Many(&'static Kind),
    /// A structure after a byte that says whether it is there.
    Optional(&'static Struct),
    /// A structure.
    One(&'static Struct),
}

/// A field, in the versions that have it.
pub(crate) struct Field {
    pub(crate) versions: (i16, i16),
    pub(crate) kind: Kind,
}

/// Fields in their order on the wire, and the tagged fields the decoder knows.
pub(crate) struct Struct {
    pub(crate) fields: &'static [Field],
    pub(crate) tags: &'static [(u32, Kind)],
}

/// A request's body.
pub(crate) struct Message {
    /// From this version on lengths are compact and structures end with tagged fields.
    pub(crate) flexible_from: i16,
    pub(crate) body: &'static Struct,
}

const ALL: i16 = i16::MAX;

const fn every(kind: Kind) -> Field {
    Field { versions: (0, ALL), kind }
}

const fn from(version: i16, kind: Kind) -> Field {
    Field { versions: (version, ALL), kind }
}

const fn between(first: i16, last: i16, kind: Kind) -> Field {
    Field { versions: (first, last), kind }
}

const fn plain(fields: &'static [Field]) -> Struct {
    Struct { fields, tags: &[] }
}

use Kind::{Array, Data, Fixed, Many, One, Optional, Text};

const INT: Kind = Fixed(4);
const UUID: Kind = Fixed(16);

pub(crate) static API_VERSIONS: Message =
    Message { flexible_from: 3, body: &plain(&[from(3, Text), from(3, Text)]) };

pub(crate) static METADATA: Message = Message {
    flexible_from: 9,
    body: &plain(&[
        every(Array(&plain(&[from(10, UUID), every(Text)]))),
        from(4, Fixed(1)),
        between(8, 10, Fixed(1)),
        from(8, Fixed(1)),
    ]),
};

pub(crate) static PRODUCE: Message = Message {
    flexible_from: 9,
    body: &plain(&[
        from(3, Text),
        every(Fixed(2 + 4)),
        every(Array(&plain(&[
            between(0, 12, Text),
            from(13, UUID),
            every(Array(&plain(&[every(INT), every(Data)]))),
        ]))),
    ]),
};

pub(crate) static INIT_PRODUCER_ID: Message =
    Message { flexible_from: 2, body: &plain(&[every(Text), every(INT), from(3, Fixed(8 + 2))]) };

pub(crate) static FETCH: Message = Message {
    flexible_from: 12,
    body: &Struct {
        fields: &[
            between(0, 14, INT),
            every(Fixed(4 + 4 + 4 + 1)),
            from(7, Fixed(4 + 4)),
            every(Array(&plain(&[
                between(0, 12, Text),
                from(13, UUID),
                every(Array(&Struct {
                    fields: &[
                        every(INT),
                        from(9, INT),
                        every(Fixed(8)),
                        from(12, INT),
                        from(5, Fixed(8)),
                        every(INT),
                    ],
                    tags: &[(0, UUID), (1, Fixed(8))],
                })),
            ]))),
            from(7, Array(&plain(&[between(7, 12, Text), from(13, UUID), every(Many(&INT))]))),
            from(11, Text),
        ],
        tags: &[(0, Text), (1, One(&plain(&[every(Fixed(4 + 8))])))],
    },
};

pub(crate) static LIST_OFFSETS: Message = Message {
    flexible_from: 6,
    body: &plain(&[
        every(INT),
        from(2, Fixed(1)),
        every(Array(&plain(&[
            every(Text),
            every(Array(&plain(&[every(INT), from(4, INT), every(Fixed(8))]))),
        ]))),
        from(10, INT),
    ]),
};

pub(crate) static CREATE_TOPICS: Message = Message {
    flexible_from: 5,
    body: &plain(&[
        every(Array(&plain(&[
            every(Text),
            every(Fixed(4 + 2)),
            every(Array(&plain(&[every(INT), every(Many(&INT))]))),
            every(Array(&plain(&[every(Text), every(Text)]))),
        ]))),
        every(Fixed(4 + 1)),
    ]),
};

pub(crate) static DELETE_TOPICS: Message = Message {
    flexible_from: 4,
    body: &plain(&[
        from(6, Array(&plain(&[every(Text), every(UUID)]))),
        between(0, 5, Many(&Text)),
        every(INT),
    ]),
};

pub(crate) static CREATE_PARTITIONS: Message = Message {
    flexible_from: 2,
    body: &plain(&[
        every(Array(&plain(&[every(Text), every(INT), every(Array(&plain(&[every(Many(&INT))])))]))),
        every(Fixed(4 + 1)),
    ]),
};

pub(crate) static DESCRIBE_CONFIGS: Message = Message {
    flexible_from: 4,
    body: &plain(&[
        every(Array(&plain(&[every(Fixed(1)), every(Text), every(Many(&Text))]))),
        every(Fixed(1)),
        from(3, Fixed(1)),
    ]),
};

pub(crate) static ALTER_CONFIGS: Message = Message {
    flexible_from: 2,
    body: &plain(&[
        every(Array(&plain(&[
            every(Fixed(1)),
            every(Text),
            every(Array(&plain(&[every(Text), every(Text)]))),
        ]))),
        every(Fixed(1)),
    ]),
};

pub(crate) static INCREMENTAL_ALTER_CONFIGS: Message = Message {
    flexible_from: 1,
    body: &plain(&[
        every(Array(&plain(&[
            every(Fixed(1)),
            every(Text),
            every(Array(&plain(&[every(Text), every(Fixed(1)), every(Text)]))),
        ]))),
        every(Fixed(1)),
    ]),
};

pub(crate) static DESCRIBE_LOG_DIRS: Message =
    Message { flexible_from: 2, body: &plain(&[every(Array(&plain(&[every(Text), every(Many(&INT))])))]) };

pub(crate) static ELECT_LEADERS: Message = Message {
    flexible_from: 2,
    body: &plain(&[from(1, Fixed(1)), every(Array(&plain(&[every(Text), every(Many(&INT))]))), every(INT)]),
};

pub(crate) static ALTER_PARTITION_REASSIGNMENTS: Message = Message {
    flexible_from: 0,
    body: &plain(&[
        every(INT),
        from(1, Fixed(1)),
        every(Array(&plain(&[every(Text), every(Array(&plain(&[every(INT), every(Many(&INT))])))]))),
    ]),
};

pub(crate) static LIST_PARTITION_REASSIGNMENTS: Message = Message {
    flexible_from: 0,
    body: &plain(&[every(INT), every(Array(&plain(&[every(Text), every(Many(&INT))])))]),
};

pub(crate) static DESCRIBE_CLUSTER: Message =
    Message { flexible_from: 0, body: &plain(&[every(Fixed(1)), from(1, Fixed(1)), from(2, Fixed(1))]) };

pub(crate) static UNREGISTER_BROKER: Message = Message { flexible_from: 0, body: &plain(&[every(INT)]) };

pub(crate) static DESCRIBE_TOPIC_PARTITIONS: Message = Message {
    flexible_from: 0,
    body: &plain(&[
        every(Array(&plain(&[every(Text)]))),
        every(INT),
        every(Optional(&plain(&[every(Text), every(INT)]))),
    ]),
};

pub(crate) static OFFSET_FOR_LEADER_EPOCH: Message = Message {
    flexible_from: 4,
    body: &plain(&[
        from(3, INT),
        every(Array(&plain(&[every(Text), every(Array(&plain(&[every(Fixed(4 + 4 + 4))])))]))),
    ]),
};
