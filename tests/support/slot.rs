//! Key to slot, as the cluster specification says.
//! <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags>

/// The slot of a key: of what stands between the first `{` and the first `}` after it, unless that is nothing.
pub fn slot_of(key: impl AsRef<[u8]>) -> u16 {
    let key = key.as_ref();
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    crc16::State::<crc16::XMODEM>::calculate(tag.unwrap_or(key)) % 16_384
}
