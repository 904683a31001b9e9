"""AMD SEV-SNP: reports, the certificates of the keys that sign them, and policies on both."""
