"""From the resources and functions here to manifests that a Knative cluster takes. Pure.

What a cluster has no counterpart for is told, each with its place and what to do; nothing is left
out in silence. The facts about clusters are those of Knative Eventing and Serving 1.17 and later.
"""
