"""Saliency: where in an image is a concept (ConVis)?"""
