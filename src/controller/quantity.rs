//! Quantities of Kubernetes as numbers. Pure.

const SUFFIXES: [(&str, f64); 16] = [
    ("", 1.0),
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
];

/// Its value, such as 10 GiB in bytes; none if it is no quantity. Exact up to 2^53.
pub fn value(quantity: &str) -> Option<f64> {
    let number = |suffix: &str| {
        let digits = quantity.strip_suffix(suffix)?;
        let looks_like_one = digits.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
        digits.parse::<f64>().ok().filter(|number| looks_like_one && number.is_finite())
    };
    SUFFIXES.iter().find_map(|(suffix, unit)| number(suffix).map(|number| number * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_one() {
        for (text, number) in [
            ("10Gi", 10_737_418_240.0),
            ("10240Mi", 10_737_418_240.0),
            ("1G", 1e9),
            ("1.5Ki", 1536.0),
            ("500m", 0.5),
            ("1E", 1e18),
            ("1E3", 1000.0),
            ("1e3", 1000.0),
            ("7", 7.0),
        ] {
            assert_eq!(value(text), Some(number), "{text}");
        }
        for text in ["", "Gi", "ten", "1 Gi", "inf", "1Xi"] {
            assert_eq!(value(text), None, "{text}");
        }
    }
}
