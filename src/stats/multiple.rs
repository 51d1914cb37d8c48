//! Many tests at once: unadjusted, one in twenty without any difference would be called different.

/// Adjusts p-values: of those below a limit, in the long run, at most that share are false discoveries (Benjamini and
/// Hochberg, 1995). The result is in the order of `p`.
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let count = p.len() as f64;
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut q = vec![1.0; p.len()];
    let mut least = 1.0_f64;
    for (rank, &index) in order.iter().enumerate().rev() {
        least = least.min(p[index] * (count / (rank + 1) as f64));
        q[index] = least;
    }
    q
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_test_is_left_as_it_is() {
        assert_eq!(benjamini_hochberg(&[0.03]), [0.03]);
        assert_eq!(benjamini_hochberg(&[]), [0.0; 0]);
    }

    proptest! {
        #[test]
        fn q_is_never_below_p_and_keeps_its_order(p in prop::collection::vec(0.0..=1.0, 1..40)) {
            let q = benjamini_hochberg(&p);
            for (a, &pa) in p.iter().enumerate() {
                prop_assert!(q[a] >= pa && q[a] <= 1.0);
                for (b, &pb) in p.iter().enumerate() {
                    prop_assert!(pa > pb || q[a] <= q[b]);
                }
            }
        }
    }
}
