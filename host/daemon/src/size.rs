//! Numbers of bytes for people.

/// Three digits or so, in decimal units as the hub has them.
pub fn size(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    let mut scaled = bytes as f64 / 1000.0;
    let mut unit = 0;
    while scaled >= 999.95 && unit + 1 < units.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    if bytes < 1000 { format!("{bytes} B") } else { format!("{scaled:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_that_suits_them() {
        let sizes = [0, 999, 1000, 999_949, 999_950, 1_730_000_000, u64::MAX].map(size);
        let wanted = ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "1.7 GB", "18446744.1 TB"];
        assert_eq!(sizes, wanted);
    }
}
