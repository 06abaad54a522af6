output "permissions" {
  description = "Permissions policies, as permissions[\"trusted\", \"untrusted\" or \"deploy\"][namespace]."
  value       = local.permissions

  precondition {
    condition     = alltrue([for those in values(local.permissions) : alltrue([for text in values(those) : length(text) <= 10240])])
    error_message = "A permissions policy is longer than the 10,240 characters that IAM takes: let the namespace read fewer others."
  }
}

output "trust" {
  description = "Trust policies, as trust[\"trusted\", \"untrusted\" or \"deploy\"][namespace]."
  value       = local.trust

  precondition {
    condition     = alltrue([for those in values(local.trust) : alltrue([for text in values(those) : length(text) <= 4096])])
    error_message = "A trust policy is longer than the 4,096 characters that IAM takes at most: give the repositories namespaces of their own."
  }
}

output "bucket_policy" {
  description = "Bucket policy: what nobody may do, whatever another policy allows."
  value       = local.bucket_policy
}
