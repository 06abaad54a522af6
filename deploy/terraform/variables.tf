variable "bucket" {
  description = "Name of the bucket, which must be there."
  type        = string
}

variable "prefix" {
  description = "What stands after the bucket in the input `store`, without slashes at its ends; empty for the whole bucket."
  type        = string
  default     = ""
}

variable "namespaces" {
  description = "Who may use which namespace; see README.md."
  type        = any # policies/variables.tf has the type
}

variable "oidc_provider_arn" {
  description = "ARN of the account's OIDC provider for GitHub Actions; null makes one. An account has at most one."
  type        = string
  default     = null
}

variable "kms_key_arn" {
  description = "ARN of the KMS key that the bucket encrypts with by default; null where it is S3's own."
  type        = string
  default     = null
}

variable "restrict_listing" {
  description = "See policies/variables.tf."
  type        = bool
  default     = true
}

variable "role_prefix" {
  description = "How the names of the roles begin."
  type        = string
  default     = "ml-cache"
}

variable "permissions_boundary" {
  description = "ARN of a permissions boundary for the roles; null for none."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of the roles and of the OIDC provider."
  type        = map(string)
  default     = {}
}

variable "harden_bucket" {
  description = "Give the bucket its policy, versioning, a public access block and lifecycle rules. This replaces a policy and rules that it has."
  type        = bool
  default     = false
}

variable "untrusted_days" {
  description = "With `harden_bucket`: for how many days pointers of pull requests and branches are kept."
  type        = number
  default     = 90
}

variable "noncurrent_days" {
  description = "With `harden_bucket`: for how many days replaced and deleted objects can be brought back."
  type        = number
  default     = 30
}
