output "roles" {
  description = "ARNs of the roles, as roles[namespace].trusted and roles[namespace].untrusted."
  value = { for namespace, _ in var.namespaces : namespace => {
    for kind in ["trusted", "untrusted"] : kind => aws_iam_role.this["${kind} ${namespace}"].arn
  } }
}

output "oidc_provider_arn" {
  description = "ARN of the OIDC provider that the roles trust."
  value       = local.oidc_provider_arn
}
