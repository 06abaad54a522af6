# The bucket's own settings, for a bucket that serves as a store and nothing else.

resource "aws_s3_bucket_policy" "this" {
  count = var.harden_bucket ? 1 : 0

  bucket = var.bucket
  policy = module.policies.bucket_policy
}

resource "aws_s3_bucket_public_access_block" "this" {
  count = var.harden_bucket ? 1 : 0

  bucket                  = var.bucket
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "this" {
  count = var.harden_bucket ? 1 : 0

  bucket = var.bucket
  versioning_configuration {
    status = "Enabled"
  }
}

# Only pointers of untrusted scopes ever expire. Blobs, manifests and inputs are shared with trusted models: their age
# does not tell whether a pointer needs them.
resource "aws_s3_bucket_lifecycle_configuration" "this" {
  count      = var.harden_bucket ? 1 : 0
  depends_on = [aws_s3_bucket_versioning.this]

  bucket = var.bucket

  rule {
    id     = "untrusted-pointers"
    status = "Enabled"
    filter {
      prefix = "${var.prefix == "" ? "" : "${var.prefix}/"}v1/untrusted/"
    }
    expiration {
      days = var.untrusted_days
    }
  }

  rule {
    id     = "replaced-and-deleted"
    status = "Enabled"
    filter {
      prefix = var.prefix == "" ? "" : "${var.prefix}/"
    }
    noncurrent_version_expiration {
      noncurrent_days = var.noncurrent_days
    }
  }
}
