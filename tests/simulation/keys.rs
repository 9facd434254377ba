//! Keys for the runs whose store is encrypted: each opening may go on with another one, or with none.

use millpond::{KeyId, Keys};

const NAMES: [&str; 3] = ["first", "second", "third"];

/// All keys there are, one of them for what is written from now on; none for a build that can't encrypt.
pub(crate) fn ring(current: Option<u8>) -> Keys {
    if !cfg!(feature = "encrypt") {
        return Keys::none();
    }
    let key = |number: u8| (KeyId::new(NAMES[usize::from(number)]).unwrap(), [number + 1; 32]);
    let start = current.map(key).map_or_else(Keys::none, |(id, key)| Keys::new(id, &key));
    (0..3).filter(|number| Some(*number) != current).map(key).fold(start, |keys, (id, key)| keys.older(id, &key))
}
