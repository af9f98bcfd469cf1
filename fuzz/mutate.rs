//! Mutations that follow from a seed: what a run on stable adds to the corpus.

/// Longest mutated input.
const MAX_LENGTH: usize = 8 << 10;
/// Numbers at which arithmetic and bounds go wrong.
const EDGES: [u64; 12] = [
    0,
    1,
    7,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
];

/// xorshift64*: the same numbers from the same seed, on every machine.
pub struct Random(u64);

impl Random {
    /// Numbers that follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// Changes `input` in one to four places; `other` is another input that it may borrow from.
pub fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        change(input, other, random);
    }
    input.truncate(MAX_LENGTH);
}

fn change(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    if input.is_empty() {
        return input.extend_from_slice(other);
    }
    let at = random.below(input.len());
    match random.below(8) {
        0 => input[at] ^= 1 << random.below(8),
        1 => input[at] = random.below(256) as u8,
        2 => input.truncate(at),
        3 => drop(input.drain(at..input.len().min(at + 1 + random.below(16)))),
        4 => input.insert(at, random.below(256) as u8),
        5 => {
            let from = random.below(other.len() + 1);
            let taken = &other[from..other.len().min(from + 1 + random.below(64))];
            drop(input.splice(at..at, taken.iter().copied()));
        }
        6 => {
            let end = input.len().min(at + 1 + random.below(32));
            input.extend_from_within(at..end);
        }
        _ => {
            let value = EDGES[random.below(EDGES.len())];
            let width = [1, 2, 4, 8][random.below(4)].min(input.len() - at);
            let big = random.below(2) == 0;
            let bytes = if big { &value.to_be_bytes()[8 - width..] } else { &value.to_le_bytes()[..width] };
            input[at..at + width].copy_from_slice(bytes);
        }
    }
}
