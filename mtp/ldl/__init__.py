"""Label-distribution learners: from any feature matrix (n, d) to rows on the simplex (n, K)."""
