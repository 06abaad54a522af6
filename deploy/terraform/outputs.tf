output "roles" {
  description = "ARNs of the roles, as roles[namespace].trusted, .untrusted, and .deploy where the namespace names environments that deploy."
  value = { for namespace, _ in var.namespaces : namespace => {
    for key, role in local.roles : role.kind => aws_iam_role.this[key].arn if role.namespace == namespace
  } }
}

output "oidc_provider_arn" {
  description = "ARN of the OIDC provider that the roles trust."
  value       = local.oidc_provider_arn
}
