//! Damage to a file: bytes, fields, rows and columns that are changed, lost, duplicated or moved.

use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use crate::pick;

/// Replacements of a field.
const FIELDS: [&[u8]; 20] = [
    b"",
    b"0",
    b"1",
    b"-1",
    b"63",
    b"1e308",
    b"-1e308",
    b"1e-320",
    b"NaN",
    b"inf",
    b"-inf",
    b"18446744073709551615",
    b"18446744073709551616",
    b"9223372036854775807",
    b"\"",
    b"\"\"",
    b"\xff\xfe",
    b"\0",
    b"\x1b[2J",
    b"a;b; c",
];

/// Bytes that mean something.
const BYTES: &[u8] = b"\"\n\r,;0123456789.-+eE\0\xff\xef \t'=";

/// The file, damaged in a few ways.
pub(crate) fn draw(random: &mut ChaCha8Rng, good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    // Most files have little damage: those with much are refused at their first line.
    let ways = if random.random_ratio(1, 5) { random.random_range(2..10) } else { 1 };
    (0..ways).for_each(|_| one(random, &mut bytes));
    bytes
}

fn one(random: &mut ChaCha8Rng, bytes: &mut Vec<u8>) {
    let length = bytes.len();
    let at = random.random_range(0..=length);
    let end = (at + random.random_range(0..200_usize)).min(length);
    match random.random_range(0..14) {
        0 if at < length => bytes[at] ^= 1 << random.random_range(0..8),
        1 if at < length => bytes[at] = BYTES[random.random_range(0..BYTES.len())],
        2 => bytes.insert(at, BYTES[random.random_range(0..BYTES.len())]),
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(at..end)),
        5 => {
            let piece = bytes[at..end].to_vec();
            let to = random.random_range(0..=length);
            bytes.splice(to..to, piece);
        }
        6 => *bytes = [b"\xef\xbb\xbf", &bytes[..]].concat(),
        7 => *bytes = bytes.split(|&byte| byte == b'\n').collect::<Vec<_>>().join(&b"\r\n"[..]),
        8 => bytes.extend(vec![BYTES[random.random_range(0..BYTES.len())]; random.random_range(0..100_000)]),
        9 => lines(random, bytes, |random, lines| {
            let [a, b] = [(); 2].map(|()| random.random_range(0..lines.len()));
            lines.swap(a, b);
        }),
        10 => lines(random, bytes, |random, lines| {
            let at = random.random_range(0..lines.len());
            let line = lines[at].clone();
            lines.insert(random.random_range(0..=at), line);
        }),
        // A field, as in a file of another program or of another version.
        _ => lines(random, bytes, |random, lines| {
            let at = random.random_range(0..lines.len());
            let mut fields: Vec<Vec<u8>> = lines[at].split(|&byte| byte == b',').map(<[u8]>::to_vec).collect();
            let field = random.random_range(0..fields.len());
            match random.random_range(0..6) {
                0 => drop(fields.remove(field)),
                1 => fields.swap(field, 0),
                2 => fields[field] = vec![b'9'; random.random_range(0..3000)],
                _ => fields[field] = pick(random, &FIELDS).to_vec(),
            }
            lines[at] = fields.join(&b","[..]);
        }),
    }
}

/// Changes the file line by line.
fn lines(random: &mut ChaCha8Rng, bytes: &mut Vec<u8>, change: impl FnOnce(&mut ChaCha8Rng, &mut Vec<Vec<u8>>)) {
    let mut lines: Vec<Vec<u8>> = bytes.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    change(random, &mut lines);
    *bytes = lines.join(&b"\n"[..]);
}
