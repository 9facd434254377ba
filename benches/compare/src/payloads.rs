//! What is sent: payloads that differ, so that each can be checked when it comes out.

/// Payloads of one size. Each begins with its own number; they live as long as the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payloads {
    all: &'static [&'static [u8]],
}

const NUMBER: usize = size_of::<u64>();

impl Payloads {
    /// So many different ones, of `bytes` each, 8 at least.
    pub(crate) fn new(count: usize, bytes: usize) -> Self {
        let bytes = bytes.max(NUMBER);
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let make = |number: usize| {
            let mut payload = (number as u64).to_le_bytes().to_vec();
            while payload.len() < bytes {
                // Xorshift: nothing that compresses.
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                payload.extend_from_slice(&random.to_le_bytes());
            }
            payload.truncate(bytes);
            &*payload.leak()
        };
        Self { all: (0..count.max(1)).map(make).collect::<Vec<_>>().leak() }
    }

    /// The payload of message `number`.
    pub(crate) fn get(self, number: u64) -> &'static [u8] {
        self.all[number as usize % self.all.len()]
    }

    /// A batch of them, from message `first` on.
    pub(crate) fn batch(self, first: u64, count: usize) -> Vec<&'static [u8]> {
        (first..).take(count).map(|number| self.get(number)).collect()
    }

    /// Which one it is, if every byte of it is what was sent.
    pub(crate) fn check(self, payload: &[u8]) -> Option<u64> {
        let number = u64::from_le_bytes(payload.get(..NUMBER)?.try_into().ok()?);
        (self.all.get(usize::try_from(number).ok()?)? == &payload).then_some(number)
    }
}
